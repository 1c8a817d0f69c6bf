//! Against guessing: how often may be tried from one address, and for how long an account is locked.
//!
//! Addresses are slowed down first, so that one guesser can't lock everybody out. An account is locked after a few failures, for longer with each further one.
//! An attempt is counted before the password is compared, and taken back when it was right: a thousand guesses at
//! once are a thousand.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::time::{Micros, SECOND};

/// So many failures from one address at once.
const BURST: i64 = 20;
/// One more each so often.
const REFILL: Micros = 30 * SECOND;
/// The most addresses that are remembered; all others share one place.
const MOST_ADDRESSES: usize = 10_000;

/// So many failures in a row are forgiven.
const FORGIVEN: i32 = 5;
/// The first lock.
const FIRST_LOCK: Micros = 60 * SECOND;
/// The longest lock.
const LONGEST_LOCK: Micros = 3_600 * SECOND;
/// After so many failures in a row only an administrator unlocks (NIST SP 800-63B section 5.2.2).
const MOST_FAILURES: i32 = 100;

/// For how long an account is locked after so many failures in a row; `Micros::MAX` until somebody unlocks it.
pub(super) fn lock_after(failures: i32) -> Option<Micros> {
    match failures {
        ..FORGIVEN => None,
        MOST_FAILURES.. => Some(Micros::MAX),
        _ => Some(FIRST_LOCK.checked_shl((failures - FORGIVEN).min(16) as u32).map_or(LONGEST_LOCK, |lock| lock.min(LONGEST_LOCK))),
    }
}

/// The addresses from which was tried of late.
#[derive(Default)]
pub(super) struct Gate {
    /// For each address, when all that was tried from it is forgotten.
    forgotten_at: Mutex<HashMap<Option<IpAddr>, Micros>>,
}

impl Gate {
    /// Counts an attempt.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn enter(&self, address: IpAddr, now: Micros) -> Result<(), Duration> {
        let mut known = self.forgotten_at.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(&mut known, address, now);
        let forgotten = known.entry(place).or_insert(now);
        let after = (*forgotten).max(now).saturating_add(REFILL);
        let over = after - now - BURST * REFILL;
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        *forgotten = after;
        Ok(())
    }

    /// Takes an attempt back that was right.
    pub(super) fn leave(&self, address: IpAddr, now: Micros) {
        let mut known = self.forgotten_at.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(&mut known, address, now);
        if let Some(forgotten) = known.get_mut(&place) {
            *forgotten -= REFILL;
        }
    }
}

/// Where an address is counted: none when there are too many.
fn place(known: &mut HashMap<Option<IpAddr>, Micros>, address: IpAddr, now: Micros) -> Option<IpAddr> {
    let network = Some(network(address));
    if known.contains_key(&network) {
        return network;
    }
    if known.len() >= MOST_ADDRESSES {
        known.retain(|_, forgotten| *forgotten > now);
    }
    if known.len() >= MOST_ADDRESSES { None } else { network }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_grows_with_each_failure() {
        let minutes = |failures| lock_after(failures).map(|lock| lock / (60 * SECOND));
        assert_eq!(
            [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 50, 99].map(minutes),
            [None, None, Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(60), Some(60), Some(60), Some(60)]
        );
        assert_eq!(lock_after(100), Some(Micros::MAX));
        assert_eq!(lock_after(i32::MAX), Some(Micros::MAX));
    }

    #[test]
    fn an_address_is_slowed_down_and_forgiven() {
        let gate = Gate::default();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = 1_000 * SECOND;
        for _ in 0..BURST {
            assert_eq!(gate.enter(one, now), Ok(()));
        }
        assert_eq!(gate.enter(one, now), Err(Duration::from_secs(30)));
        assert_eq!(gate.enter(one, now + 10 * SECOND), Err(Duration::from_secs(20)));
        assert_eq!(gate.enter(other, now), Ok(()));
        assert_eq!(gate.enter(one, now + REFILL), Ok(()));
        assert!(gate.enter(one, now + REFILL).is_err());
        gate.leave(one, now + REFILL);
        assert_eq!(gate.enter(one, now + REFILL), Ok(()));
        for _ in 0..BURST {
            assert_eq!(gate.enter(one, now + 10_000 * SECOND), Ok(()));
        }
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:2".parse().unwrap()));
        assert_ne!(network("2001:db8::1".parse().unwrap()), network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let gate = Gate::default();
        for number in 0..MOST_ADDRESSES as u32 + 100 {
            let _slowed_down_at_the_end = gate.enter(IpAddr::V4(number.into()), 0);
        }
        let known = gate.forgotten_at.lock().unwrap();
        assert!(known.len() <= MOST_ADDRESSES + 1);
        assert!(known.contains_key(&None));
    }
}
