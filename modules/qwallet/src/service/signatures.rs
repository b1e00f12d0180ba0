//! Whether a signature is one identity's permission for exactly these bytes.

use q_auth::{SignatureRefused, directory::DirectoryError};
use q_core::Did;

use super::Service;
use crate::{
    domain::order::{SignatureFault, Unverified},
    error::Error,
};

impl Service {
    /// Checks that `signer` signed `input` as `typ` with a current key.
    ///
    /// The outer error means that nobody can tell now; the inner one that the signature is not good.
    pub(super) async fn check_signature(
        &self,
        signature: &str,
        typ: &str,
        input: &[u8],
        signer: &Did,
    ) -> Result<Result<(), SignatureFault>, Error> {
        Ok(match self.signer_of(signature, typ, input).await? {
            Ok(did) if did == *signer => Ok(()),
            Ok(_) => Err(SignatureFault::OtherSigner),
            Err(fault) => Err(fault),
        })
    }

    /// Who signed `input` as `typ`, if the signature is good.
    pub(super) async fn signer_of(
        &self,
        signature: &str,
        typ: &str,
        input: &[u8],
    ) -> Result<Result<Did, SignatureFault>, Error> {
        let unverified = match Unverified::read(signature, typ, input) {
            Ok(unverified) => unverified,
            Err(fault) => return Ok(Err(fault)),
        };
        // Strict verification, on this request's own task: signatures never wait for the executor.
        match self.keys.verify(&unverified.kid, &unverified.message, &unverified.signature).await {
            Ok(did) => Ok(Ok(did)),
            Err(SignatureRefused::KeyId) => Ok(Err(SignatureFault::KeyNotNamed)),
            Err(SignatureRefused::Signature) => Ok(Err(SignatureFault::DoesNotHold)),
            Err(SignatureRefused::Directory(error @ DirectoryError::Unavailable(_))) => Err(error.into()),
            Err(
                SignatureRefused::KeyNotHeld | SignatureRefused::Blocked | SignatureRefused::Directory(_),
            ) => Ok(Err(SignatureFault::KeyUnknown)),
        }
    }
}
