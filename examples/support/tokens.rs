//! The tokens of the examples' users.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

/// Signs a token that is good for 12 hours.
pub(crate) fn sign(subject: &str, role: &str, secret: &str) -> Result<String, String> {
    let exp = SystemTime::now() + Duration::from_secs(12 * 60 * 60);
    let exp = exp
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|e| e.to_string())?
        .as_secs();
    let claims = json!({ "sub": subject, "role": role, "aud": "todos", "exp": exp });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key)
        .map_err(|e| format!("a token cannot be signed: {e}"))
}
