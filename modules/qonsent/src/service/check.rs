//! May an identity do this? The HTTP form of what modules decide by themselves.

use std::time::Duration;

use q_core::{AuditEntry, Caller, Did, Verdict};
use q_pdp::{Decision, Request, Resource, resource::check_action};
use qonsent_api::{AuditTrail, CheckId, CheckRequest, CheckResponse, PolicyRef};

use super::Service;
use crate::{Error, domain::ask};

/// How long a check waits for the epoch it was asked to have seen.
const EPOCH_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const EPOCH_LOOK_EVERY: Duration = Duration::from_millis(5);

impl Service {
    pub(crate) async fn check(&self, caller: &Caller, request: CheckRequest) -> Result<CheckResponse, Error> {
        let resource = ask::resource(&request.resource)?;
        let identity = ask::identity(&request.identity)?;
        check_action(&request.action).map_err(|_| Error::Action)?;
        // Whose a resource is, its own module knows; nobody else is believed.
        let owner = request.owner.filter(|_| caller.is_service());
        self.may_ask(caller, &identity, &resource)?;
        if let Some(epoch) = request.min_epoch {
            self.reach(epoch).await?;
        }
        let now = self.env.now();
        let decision = self.pdp.decide(&Request {
            principal: &identity,
            action: &request.action,
            resource: resource.as_str(),
            owner: owner.as_ref(),
            now,
        });
        let check_id = CheckId::new(&self.env);
        if !decision.allowed {
            self.audit_denial(caller, &identity, &resource, &request.action, &decision, check_id).await?;
        }
        Ok(CheckResponse {
            allowed: decision.allowed,
            reason: decision.reason.code().to_owned(),
            policy: decision.grant.map(|grant| PolicyRef { id: grant.to_string(), kind: "grant".to_owned() }),
            expires_at: decision.expires_at,
            audit_trail: AuditTrail { check_id, timestamp: now, source: "qonsent".to_owned() },
            epoch: decision.epoch,
        })
    }

    /// Who may see whom what is a fact about a person: not everybody may ask it.
    fn may_ask(&self, caller: &Caller, identity: &Did, resource: &Resource) -> Result<(), Error> {
        let is_about_oneself = caller.did() == Some(identity);
        let is_owner = || {
            caller.did().is_some_and(|did| {
                let decision = self.pdp.check(did, "read", resource.as_str(), self.env.now());
                decision.reason == q_pdp::Reason::Owner
            })
        };
        if is_about_oneself || caller.is_service() || is_owner() || self.is_operator(caller) {
            Ok(())
        } else {
            Err(Error::Forbidden("only the identity itself, the owner, operators and modules may ask this"))
        }
    }

    async fn reach(&self, epoch: u64) -> Result<(), Error> {
        let arrives = async {
            while self.pdp.epoch() < epoch {
                tokio::time::sleep(EPOCH_LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(EPOCH_WAIT_MAX, arrives).await.map_err(|_| Error::Stale(self.pdp.epoch()))
    }

    async fn audit_denial(
        &self,
        caller: &Caller,
        identity: &Did,
        resource: &Resource,
        action: &str,
        decision: &Decision,
        check_id: CheckId,
    ) -> Result<(), Error> {
        let details = serde_json::json!({
            "checkId": check_id, "identity": identity, "action": action, "reason": decision.reason.code(),
            "epoch": decision.epoch,
        });
        let entry = AuditEntry::change("PERMISSION_CHECK", caller.did(), resource)
            .family("authorization")
            .verdict(Verdict::Deny)
            .details(details);
        self.db.write(move |tx| tx.audit(entry.clone())).await?;
        Ok(())
    }
}
