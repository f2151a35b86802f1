//! The mails of `sql/basic_auth.sql`: waits until there are some, and hands them to whoever sends them.

use std::future::poll_fn;
use std::time::Duration;

use rolescope::RoleScopedPool;
use rolescope::role::{RoleName, RoleScope};
use rolescope::tokio_postgres::{self, AsyncMessage, NoTls};
use serde::Serialize;
use tokio::sync::Notify;

/// A mail to send.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mail {
    pub(crate) to: String,
    /// `verify`, `registered` (who signed up has an account) or `reset`.
    pub(crate) kind: String,
    /// What the link holds.
    pub(crate) token: Option<String>,
}

/// Sends mails for as long as it is polled. `url` is the authenticator's, to listen; `role` is the mailer's.
///
/// What cannot be taken now is taken later: NOTIFY only wakes it, and it looks by itself once a minute. The clean-up goes
/// along, once an hour.
pub(crate) async fn send_mails(
    url: &str,
    pool: &RoleScopedPool,
    role: RoleName,
    mut send: impl FnMut(Mail),
) {
    let scope = RoleScope::for_role(role);
    let wake = Notify::new();
    let listening = async {
        loop {
            if let Err(error) = listen(url, &wake).await {
                tracing::warn!(%error, "new mails are noticed late");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let sending = async {
        for minute in 0u64.. {
            match take(pool, &scope, &mut send).await {
                Ok(()) if minute % 60 == 0 => {
                    if let Err(error) = clean_up(pool, &scope).await {
                        tracing::warn!(%error, "not cleaned up");
                    }
                }
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "mails are sent later"),
            }
            let _ = tokio::time::timeout(Duration::from_secs(60), wake.notified()).await;
        }
    };
    tokio::join!(listening, sending);
}

async fn listen(url: &str, wake: &Notify) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            // What it says does not matter: anybody may send one.
            if let AsyncMessage::Notification(_) = message? {
                wake.notify_one();
            }
        }
        Ok(())
    };
    let subscribe = async {
        client.batch_execute("LISTEN basic_auth_mail").await?;
        // What came before it.
        wake.notify_one();
        std::future::pending().await
    };
    tokio::select! {
        end = messages => end,
        end = subscribe => end,
    }
}

async fn take(
    pool: &RoleScopedPool,
    scope: &RoleScope,
    send: &mut impl FnMut(Mail),
) -> Result<(), rolescope::Error> {
    let db = pool.begin(scope);
    let sql = "SELECT id, email, kind, token FROM basic_auth.take_mails()";
    let mails = db.query(sql, &[]).await?;
    // Before they are sent: who is quick would come with a token that is not stored yet.
    db.commit().await?;
    for row in &mails {
        send(Mail {
            to: row.get("email"),
            kind: row.get("kind"),
            token: row.get("token"),
        });
        let db = pool.begin(scope);
        let id: i64 = row.get("id");
        db.execute("SELECT basic_auth.mail_sent($1)", &[&id])
            .await?;
        db.commit().await?;
    }
    Ok(())
}

async fn clean_up(pool: &RoleScopedPool, scope: &RoleScope) -> Result<(), rolescope::Error> {
    let db = pool.begin(scope);
    db.execute("SELECT basic_auth.clean_up()", &[]).await?;
    db.commit().await
}
