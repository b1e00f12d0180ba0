//! Making the delegations that a grant is proved by, where the owner's key is at hand: the command line, `q init`.

use q_core::{Did, Env, Span, Timestamp};
use q_jose::ed25519::SecretKey;
use q_pdp::{Conditions, NotConditions, Resource, command, expand};
use q_ucan::{Delegation, DelegationDraft, Issuer, Policy, Refusal, container};

/// How long an operator of a new instance stays one without being named again.
const OPERATOR_TTL: Span = Span::seconds(10 * 365 * 86_400);

/// Rights on one resource, to be signed over to one identity.
#[derive(Debug, Clone)]
pub struct NewDelegation<'a> {
    /// Who signs: the owner, or somebody the owner delegated to.
    pub issuer: Issuer,
    /// Whose resource it is.
    pub owner: &'a Did,
    /// Who receives.
    pub audience: &'a Did,
    /// On what.
    pub resource: &'a Resource,
    /// What may be done; expanded as in [`q_pdp::expand`].
    pub permissions: &'a [&'a str],
    /// From when; at once when not said.
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub expires_at: Timestamp,
    /// At which times and how often.
    pub conditions: &'a Conditions,
}

/// The delegations cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// A permission is not spelled as an action.
    #[error(transparent)]
    Permission(#[from] q_pdp::resource::NotAnAction),
    /// The conditions cannot be kept.
    #[error(transparent)]
    Conditions(#[from] NotConditions),
    /// The claims break a rule.
    #[error(transparent)]
    Claims(#[from] Refusal),
}

impl NewDelegation<'_> {
    /// Signs one delegation for each action, such as `/qwallet/wallet/read` with the policy
    /// `[["==", ".resource", "qwallet:wallet:…"]]`, and packs them as the text that `POST /grant` takes.
    pub fn sign(&self, env: &Env, key: &SecretKey) -> Result<String, NotMade> {
        let delegations = expand(self.permissions.iter().copied())?
            .iter()
            .map(|action| self.sign_one(env, key, action))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(container::encode_text(delegations.iter().map(Delegation::bytes)))
    }

    fn sign_one(&self, env: &Env, key: &SecretKey, action: &str) -> Result<Delegation, NotMade> {
        let draft = DelegationDraft {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            subject: Some(self.owner.clone()),
            command: command(self.resource, action)?,
            policy: Policy::pins_resource(self.resource.as_str()),
            nonce: env.random::<12>().to_vec(),
            not_before: self.not_before,
            expires_at: Some(self.expires_at),
            meta: self.conditions.to_meta()?,
        };
        Ok(draft.sign(key)?)
    }
}

/// The instance's own word that `operator` may administer it: handed in with `POST /delegations` when the instance
/// is made, and again whenever the instance names another operator.
pub fn operator_delegation(
    env: &Env,
    instance: &Did,
    key: &SecretKey,
    operator: &Did,
) -> Result<String, NotMade> {
    let resource = Resource::instance(instance);
    NewDelegation {
        issuer: instance.clone().into(),
        owner: instance,
        audience: operator,
        resource: &resource,
        permissions: &["admin"],
        not_before: None,
        expires_at: env.now() + OPERATOR_TTL,
        conditions: &Conditions::default(),
    }
    .sign(env, key)
}
