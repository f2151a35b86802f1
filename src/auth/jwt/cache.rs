//! Verified tokens, kept so that a token costs its signature once and not with each request.
//!
//! A cache belongs to one verifier, whose rules never change, and each token's claims say by which generation of whose keys
//! it was verified. Only whole tokens are found in it, and only what time changes is checked again when one is.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, OptionsBuilder, Weighter};

use super::claims::Claims;

/// What an entry counts at least, so that there is a number of entries that are never exceeded.
const LEAST_WEIGHT: usize = 1024;
/// What one place in the cache's own table costs at most, in bytes. It is a slot of 64 and a hash's place of 5; both double
/// as they grow, and the old ones are given up only after the new ones are there.
const PLACE: usize = 3 * 64 + 3 * 5;
/// How much is for tokens that were seen more than once. The rest is for newcomers: tokens expire, so that what was seen
/// often is not what will be. With that much for newcomers it does not pay to remember tokens that are no longer kept.
const HOT: f64 = 0.5;
/// The smallest part of a cache that gets a lock of its own.
const LEAST_SHARD: usize = 512 * 1024;
/// How much of a token's end is hashed. It is the signature, which is as good as random; whoever can choose it has the key.
const HASHED: usize = 32;

type Kept =
    Cache<Key, Claims, Weight, BuildHasherDefault<KnownHash>, DefaultLifecycle<Key, Claims>>;

pub(super) struct TokenCache {
    kept: Kept,
    hash: RandomState,
    capacity: usize,
}

/// Tells the state of a [`JwtVerifier`](super::JwtVerifier)'s token cache, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenCacheStatus {
    /// How many tokens are kept.
    pub entries: usize,
    /// How many bytes they take, with their claims and the cache's own table.
    pub bytes: usize,
    /// How many bytes they may take. 0 where there is no cache.
    pub capacity: usize,
    /// How many tokens were found, those among them whose time was over or had not yet come.
    pub hits: u64,
    /// How many tokens were not found and had to be verified, whatever came of it.
    pub misses: u64,
}

impl TokenCache {
    /// Makes a cache that takes at most `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        // The table is paid from the same purse.
        let most_entries = capacity / (LEAST_WEIGHT + PLACE);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .weight_capacity((most_entries * LEAST_WEIGHT) as u64)
            .estimated_items_capacity(most_entries)
            .ghost_allocation(0.0)
            .hot_allocation(HOT)
            .shards((capacity / LEAST_SHARD).clamp(1, 4 * cores))
            .build()
            .unwrap_or_else(|error| unreachable!("{error}"));
        Self {
            kept: Cache::with_options(
                options,
                Weight,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            hash: RandomState::new(),
            capacity,
        }
    }

    /// Another one of the same capacity, with nothing in it.
    pub(super) fn another(&self) -> Self {
        Self::new(self.capacity)
    }

    pub(super) fn get(&self, token: &str) -> Option<Claims> {
        self.kept.get(&self.key(token))
    }

    pub(super) fn insert(&self, token: &str, claims: &Claims) {
        let KeyRef { hash, token } = self.key(token);
        let token = token.into();
        self.kept.insert(Key { hash, token }, claims.clone());
    }

    pub(super) fn remove(&self, token: &str) {
        self.kept.remove(&self.key(token));
    }

    pub(super) fn status(&self) -> TokenCacheStatus {
        let table = self.kept.memory_used();
        TokenCacheStatus {
            entries: self.kept.len(),
            bytes: self.kept.weight() as usize + table.total(),
            capacity: self.capacity,
            hits: self.kept.hits(),
            misses: self.kept.misses(),
        }
    }

    fn key<'a>(&self, token: &'a str) -> KeyRef<'a> {
        let end = &token.as_bytes()[token.len().saturating_sub(HASHED)..];
        let hash = self.hash.hash_one(end);
        KeyRef { hash, token }
    }
}

/// A token and its hash, which nobody outside of the process can know. Tokens are compared only where it is the same, so
/// that the time of a comparison tells nothing about a token that is kept.
struct Key {
    hash: u64,
    token: Box<str>,
}

/// A key that is only looked up, so that looking up allocates nothing.
struct KeyRef<'a> {
    hash: u64,
    token: &'a str,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.token == other.token
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash && *self.token == *key.token
    }
}

/// Passes the hash of a key on.
#[derive(Default)]
struct KnownHash(u64);

impl Hasher for KnownHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys write one `u64` only.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Claims> for Weight {
    fn weight(&self, key: &Key, claims: &Claims) -> u64 {
        (key.token.len() + claims.bytes()).max(LEAST_WEIGHT) as u64
    }
}
