//! The provider of the examples and tests: it is fetched once, and leaves nothing behind.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::support::files::TemporaryDirectory;
use crate::support::local_provider::home_in;
use crate::support::processes::wait_until;

#[tokio::test]
async fn npm_fetches_it_also_twice_at_once() {
    let cache = TemporaryDirectory::new("provider");
    let path = cache.path().to_owned();
    let find = || {
        let path = path.clone();
        tokio::task::spawn_blocking(move || home_in(&path).unwrap_or_else(|e| panic!("{e}")))
    };
    let (one, two) = tokio::join!(find(), find());
    let home = one.expect("it is fetched");
    assert_eq!(home, two.expect("it is fetched"));
    assert_eq!(cache.entries(), std::slice::from_ref(&home));
    assert!(
        home.join("node_modules/oidc-provider/package.json")
            .exists()
    );

    // What another lock file made is replaced.
    std::fs::write(home.join("package-lock.json"), "{}").expect("it can be written");
    std::fs::remove_dir_all(home.join("node_modules")).expect("it is there");
    assert_eq!(find().await.expect("it is fetched"), home);
    assert!(
        home.join("node_modules/oidc-provider/package.json")
            .exists()
    );
}

#[test]
fn the_lock_file_pins_each_package_by_its_hash_and_names_no_registry() {
    let lock = include_str!("../../../examples/support/local_provider/package-lock.json");
    let lock: Value = serde_json::from_str(lock).expect("it is JSON");
    let packages = lock["packages"].as_object().expect("it has packages");
    assert!(packages.len() > 10);
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        let hash = package["integrity"].as_str().unwrap_or_default();
        assert!(hash.starts_with("sha512-"), "{name}");
        assert_eq!(package.get("resolved"), None, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_left_when_dropped() {
    let provider = provider().await;
    let issuer = provider.issuer().to_owned();
    let port = issuer.rsplit_once(':').expect("it has a port").1.to_owned();
    let is_there = move || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
    assert!(is_there());
    drop(provider);
    assert!(!is_there());
}

const OWNER: &str = "ROLESCOPE_TEST_OWNS_A_PROVIDER";

#[test]
fn nothing_is_left_when_the_owner_is_killed() {
    // This test is its own owner, too: a process that holds a provider until it is killed.
    if std::env::var_os(OWNER).is_some() {
        let provider = LocalProvider::start(&config()).unwrap_or_else(|e| panic!("{e}"));
        println!("owned {}", provider.issuer());
        std::thread::sleep(Duration::from_secs(600));
    }
    let this = std::env::current_exe().expect("this binary has a path");
    let mut owner = Command::new(this)
        .args(["--exact", "--nocapture"])
        .arg("oidc::local_provider::nothing_is_left_when_the_owner_is_killed")
        .env(OWNER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = std::io::BufReader::new(owner.stdout.take().expect("it is piped"));
    let issuer = std::io::BufRead::lines(output)
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("owned ")?.1.to_owned()))
        .expect("it has a provider");
    let address = issuer.strip_prefix("http://").expect("it is plain HTTP");
    assert!(std::net::TcpStream::connect(address).is_ok());
    owner.kill().expect("it can be killed");
    owner.wait().expect("it ends");
    wait_until("the provider is gone", || {
        std::net::TcpStream::connect(address).is_err()
    });
}
