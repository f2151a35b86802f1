//! Built without the feature `tls`, a pool goes where no TLS is needed, and says what it lacks elsewhere.

use rolescope::RoleScopedPool;

#[test]
fn a_url_that_needs_tls_is_refused_and_the_feature_named() {
    for url in [
        "postgres://a@db/db",
        "postgres://a@localhost/db?sslmode=require",
        "postgres://a@localhost/db?sslmode=verify-full",
        "postgres://a@localhost/db?sslmode=prefer&sslrootcert=/nowhere",
    ] {
        let error = RoleScopedPool::builder(url).expect_err(url).to_string();
        assert!(error.contains("feature `tls`"), "{url}: {error}");
    }
    for url in [
        "postgres://a@db/db?sslmode=disable",
        "postgres://a@db/db?sslmode=prefer",
        "postgres://a@localhost/db",
        "postgres://a@%2Frun/db?sslmode=verify-full",
    ] {
        drop(RoleScopedPool::builder(url).expect(url));
    }
}
