//! What is printed at the start: commands that show who may do what.

use crate::todos_database::random_hex;
use crate::tokens::sign;

pub(crate) fn guide(url: &str, secret: &str, role: &str) -> Result<String, String> {
    let bearer = |subject, secret: &str| {
        let token = sign(subject, role, secret)?;
        Ok::<_, String>(format!("-H 'Authorization: Bearer {token}'"))
    };
    let alice = bearer("alice", secret)?;
    let bob = bearer("bob", secret)?;
    let forged = bearer("alice", &random_hex(32)?)?;
    let json = "-H 'content-type: application/json'";
    Ok(format!(
        r#"listening on {url}

# Without a token: anon, who sees what is public.
curl -i {url}/todos

# Alice also sees what is hers.
curl -i {alice} {url}/todos

# Alice adds a todo.
curl -i {alice} {json} -d '{{"task":"call the plumber"}}' {url}/todos

# Bob, who has the same role, sees what is public and his own.
curl -i {bob} {url}/todos

# Bob cannot write in Alice's name: 403.
curl -i {bob} {json} -d '{{"task":"give bob a raise","owner":"alice"}}' {url}/todos

# A token that somebody else signed: 401.
curl -i {forged} {url}/todos

The tokens are good for 12 hours. Ctrl-C ends it.
"#
    ))
}
