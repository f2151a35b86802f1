//! Tokens that others have made, and one of each algorithm.

use super::*;

#[test]
fn the_seeds_token_is_accepted_with_exactly_the_options_that_it_needs() {
    let seed = || JwtVerifier::builder().hs256("secret").unwrap();

    let both = seed()
        .dangerous()
        .accept_short_secrets()
        .dangerous()
        .accept_missing_exp();
    let claims = both.build().unwrap().verify(SEED).unwrap();
    assert_eq!(claims.as_json(), r#"{"role":"jdoe123"}"#);

    let without_short = seed().dangerous().accept_missing_exp().build();
    let Err(BuildError::Key(error)) = without_short else {
        panic!("a short secret is refused")
    };
    assert_eq!(error.kind(), KeyErrorKind::ShortSecret);
    assert_eq!(
        error.to_string(),
        "the HMAC secret has 6 bytes and HS256 needs 32: make one with `openssl rand -base64 32`, \
         or say `.dangerous().accept_short_secrets()`"
    );

    let without_exp = seed().dangerous().accept_short_secrets().build().unwrap();
    assert_eq!(
        without_exp.verify(SEED).unwrap_err(),
        TokenError::MissingExpiry
    );

    let other_secret = builder().dangerous().accept_missing_exp().build().unwrap();
    assert_eq!(
        other_secret.verify(SEED).unwrap_err(),
        TokenError::BadSignature
    );
}

#[test]
fn the_examples_of_the_rfcs_are_verified() {
    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let then = at(1_300_819_379);
    let joe = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let rows = [
        (
            "RFC 7515 A.1, RFC 7519 3.1",
            r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            JOE,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            Ok(joe),
        ),
        (
            "RFC 7515 A.2",
            r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
            "eyJhbGciOiJSUzI1NiJ9",
            JOE,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            Ok(joe),
        ),
        (
            "RFC 7515 A.3",
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
            "eyJhbGciOiJFUzI1NiJ9",
            JOE,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            Ok(joe),
        ),
        (
            "RFC 8037 A.4: the signature holds, but \"Example of Ed25519 signing\" is not JSON",
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            Err(TokenError::MalformedPayload),
        ),
    ];
    for (name, jwk, header, payload, signature, expected) in rows {
        let verifier = JwtVerifier::builder().jwk(jwk).unwrap().build().unwrap();
        let claims = verifier.verify_at(&format!("{header}.{payload}.{signature}"), then);
        assert_eq!(
            claims.as_ref().map(Claims::as_json),
            expected.as_ref().copied(),
            "{name}"
        );

        let flipped = if signature.starts_with('d') { 'e' } else { 'd' };
        let forged = format!("{header}.{payload}.{flipped}{}", &signature[1..]);
        let refused = verifier.verify_at(&forged, then).unwrap_err();
        assert_eq!(refused, TokenError::BadSignature, "{name}");
    }
    let unsecured = format!("eyJhbGciOiJub25lIn0.{JOE}.");
    assert_eq!(
        verify(&without_exp(), &unsecured),
        Err(TokenError::Unsigned),
        "RFC 7519 6.1"
    );
}

#[test]
fn each_algorithm_verifies_its_own_tokens_and_no_others() {
    for own in ALL {
        let verifier = JwtVerifier::builder()
            .key(public_key(own).with_algorithms([own]).unwrap())
            .build()
            .unwrap();
        for other in ALL {
            let expected = if own == other {
                Ok(())
            } else {
                Err(TokenError::AlgorithmNotAllowed)
            };
            assert_eq!(
                verify(&verifier, &signed_with(other)),
                expected,
                "{own} key, {other} token"
            );
        }
    }
}

#[test]
fn all_keys_at_once_verify_all_algorithms() {
    let verifier = JwtVerifier::builder()
        .keys(ALL.map(public_key))
        .unwrap()
        .build()
        .unwrap();
    for algorithm in ALL {
        assert_eq!(
            verify(&verifier, &signed_with(algorithm)),
            Ok(()),
            "{algorithm}"
        );
    }
}
