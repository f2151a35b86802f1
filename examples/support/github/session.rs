//! Sessions of whoever GitHub vouches for: what the SQL functions of `github.sql` and `sessions.sql` are asked.

use rolescope::issuer::{IssuedToken, RefreshToken, TokenIssuer};
use rolescope::{RoleName, RoleScope, RoleScopedPool};

use super::profile::Profile;
use super::refusal::Refusal;

pub(super) struct Sessions {
    pool: RoleScopedPool,
    issuer: TokenIssuer,
    /// May say who somebody is.
    broker: RoleScope,
    /// May exchange a refresh token.
    anonymous: RoleScope,
}

impl Sessions {
    pub(super) fn new(
        pool: RoleScopedPool,
        broker: RoleName,
        issuer: TokenIssuer,
    ) -> Result<Self, String> {
        let anonymous = pool.anonymous_role().cloned();
        let anonymous = anonymous.ok_or("the pool has no anonymous role: it refreshes tokens")?;
        Ok(Self {
            pool,
            issuer,
            broker: RoleScope::for_role(broker),
            anonymous: RoleScope::for_role(anonymous),
        })
    }

    /// Begins a session, once for each attempt to sign in, and returns its refresh token.
    ///
    /// The person sees by `agent` in their list of sessions which browser it was.
    pub(super) async fn begin(
        &self,
        profile: &Profile,
        mark: &[u8],
        agent: Option<&str>,
    ) -> Result<String, Refusal> {
        let refresh = random()?;
        let Profile { id, login, email } = profile;
        let db = self.pool.begin(&self.broker);
        db.execute("SELECT basic_auth.use_github_state($1)", &[&mark])
            .await?;
        let issued = db
            .issue_token(
                &self.issuer,
                "SELECT basic_auth.sign_in_with_github($1, $2, $3, $4, NULL, $5)",
                &[id, login, email, &refresh.hash().as_slice(), &agent],
            )
            .await?;
        db.commit().await?;
        // The access token itself is not handed out: the page asks for one when it is there.
        issued.ok_or(Refusal::Disabled)?;
        Ok(refresh.as_str().to_owned())
    }

    /// Exchanges a refresh token for an access token and the next refresh token.
    pub(super) async fn refresh(&self, old: &str) -> Result<(IssuedToken, RefreshToken), Refusal> {
        let old = RefreshToken::parse(old).map_err(|_| Refusal::NoSession)?;
        let next = random()?;
        let db = self.pool.begin(&self.anonymous);
        let issued = db
            .issue_token(
                &self.issuer,
                "SELECT refresh($1, $2)",
                &[&old.hash().as_slice(), &next.hash().as_slice()],
            )
            .await?;
        // Also where there is none: that a used one came back is a thing to remember.
        db.commit().await?;
        Ok((issued.ok_or(Refusal::NoSession)?, next))
    }
}

fn random() -> Result<RefreshToken, Refusal> {
    RefreshToken::random().map_err(|e| Refusal::Token(e.to_string()))
}
