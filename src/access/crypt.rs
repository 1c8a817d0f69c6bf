//! Random texts, hashes, and the key that secrets are sealed with.
//!
//! What is random and long is kept as its SHA-256: nobody guesses 256 bits. What must be read again (the secret of a second
//! factor) or travels through a browser and back is sealed with XChaCha20-Poly1305, each purpose and each account apart, so that nothing sealed
//! for one can be used for another.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key as CipherKey, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::AccessError;

/// Bytes of a key, of a cookie, of a token.
pub(super) const SECRET_BYTES: usize = 32;
/// Bytes of the nonce before what is sealed.
const NONCE_BYTES: usize = 24;
/// The most bytes of a key file.
const KEY_FILE_BYTES: u64 = 1024;

/// What is sealed, and for what alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// The secret of a second factor in the table of accounts.
    Totp,
    /// The secret of a second factor that is offered.
    TotpOffer,
    /// A password was right, and a code is wanted.
    Pending,
    /// What is remembered while the browser is at the provider.
    Provider,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Totp => b"totp",
            Self::TotpOffer => b"totp-offer",
            Self::Pending => b"pending",
            Self::Provider => b"provider",
        }
    }
}

/// The key of the configuration's `key_file`.
pub(super) struct Key {
    cipher: XChaCha20Poly1305,
    bytes: [u8; SECRET_BYTES],
}

impl Key {
    /// Reads the file, or makes it.
    pub(super) fn load(path: &Path) -> Result<Self, AccessError> {
        let broken = |error: &dyn std::fmt::Display| AccessError::Broken(format!("the key file {}: {error}", path.display()));
        let bytes = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(|error| broken(&error))?,
            read => read.map_err(|error| broken(&error))?,
        };
        warn_if_readable(path);
        Ok(Self { cipher: XChaCha20Poly1305::new(&CipherKey::from(bytes)), bytes })
    }

    /// By what the key is known again, which tells nothing of it.
    pub(super) fn mark(&self) -> [u8; 32] {
        authenticated(&self.bytes, b"xmpp-archiver access key")
    }

    /// Seals bytes for a purpose and for an account.
    pub(super) fn seal(&self, purpose: Purpose, account: i64, clear: &[u8]) -> Result<Vec<u8>, AccessError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: clear, aad: &bound(purpose, account) };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_too_long| AccessError::Broken("a secret could not be sealed".to_owned()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The bytes, if they were sealed with this key for this.
    pub(super) fn unseal(&self, purpose: Purpose, account: i64, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: &bound(purpose, account) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }

    /// Seals a value as a text for a form or a cookie.
    pub(super) fn seal_text(&self, purpose: Purpose, value: &impl serde::Serialize) -> Result<String, AccessError> {
        let clear = serde_json::to_vec(value).map_err(|error| AccessError::Broken(error.to_string()))?;
        Ok(URL_SAFE_NO_PAD.encode(self.seal(purpose, 0, &clear)?))
    }

    /// The value of such a text.
    pub(super) fn unseal_text<T: serde::de::DeserializeOwned>(&self, purpose: Purpose, text: &str) -> Option<T> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&self.unseal(purpose, 0, &sealed)?).ok()
    }
}

fn bound(purpose: Purpose, account: i64) -> Vec<u8> {
    [purpose.label(), &[0], &account.to_be_bytes()].concat()
}

fn read(path: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(KEY_FILE_BYTES).read_to_string(&mut text)?;
    let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "is not 32 bytes in base64, as it was made"))
}

/// Another process may make it at the same moment: the name is given by a link, which only one gets, and whoever does not reads what the other wrote.
fn make(path: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    let bytes: [u8; SECRET_BYTES] = random().map_err(|error| io::Error::other(error.to_string()))?;
    let unfinished = path.with_extension(format!("new-{}", hex(&random::<8>().map_err(|error| io::Error::other(error.to_string()))?)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    let written = file.write_all(format!("{}\n", STANDARD.encode(bytes)).as_bytes()).and_then(|()| file.sync_all());
    let named = written.and_then(|()| std::fs::hard_link(&unfinished, path));
    std::fs::remove_file(&unfinished)?;
    match named {
        Ok(()) => {
            log::info!("made the key file {}: keep a copy of it apart from the backups of the database", path.display());
            read(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let is_open = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if is_open {
        log::warn!("the key file {} can be read by others than its owner: chmod 600 it", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path) {}

/// Random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AccessError::Broken(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// A random text of 256 bits.
pub(super) fn random_text() -> Result<String, AccessError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?))
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A token against forged requests: something random, and what only the session's key makes of it.
pub(super) fn csrf_token(key: &[u8]) -> Result<String, AccessError> {
    let salt: [u8; 16] = random()?;
    Ok(URL_SAFE_NO_PAD.encode([salt.as_slice(), &authenticated(key, &salt)].concat()))
}

/// Whether a token was made with this key. In constant time.
pub(super) fn csrf_holds(key: &[u8], token: &str) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return false };
    let Some((salt, code)) = bytes.split_first_chunk::<16>() else { return false };
    authenticated(key, salt).as_slice().ct_eq(code).into()
}

fn authenticated(key: &[u8], salt: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else { return [0; 32] };
    mac.update(salt);
    mac.finalize().into_bytes().into()
}

/// Bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.key");
        let sealed = Key::load(&path).unwrap().seal(Purpose::Totp, 7, b"secret").unwrap();
        let again = Key::load(&path).unwrap();
        assert_eq!(again.unseal(Purpose::Totp, 7, &sealed).unwrap(), b"secret");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(Key::load(&path), Err(AccessError::Broken(said)) if said.contains("access.key")));
        assert!(Key::load(&directory.path().join("none/access.key")).is_err());
    }

    #[test]
    fn many_at_once_get_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.key");
        let keys: Vec<Key> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Key::load(&path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let sealed = keys[0].seal(Purpose::Totp, 1, b"x").unwrap();
        assert!(keys.iter().all(|key| key.unseal(Purpose::Totp, 1, &sealed).is_some()));
    }

    #[test]
    fn what_is_sealed_is_good_for_one_thing() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::load(&directory.path().join("a")).unwrap();
        let other = Key::load(&directory.path().join("b")).unwrap();
        let sealed = key.seal(Purpose::Totp, 1, b"secret").unwrap();
        assert!(key.unseal(Purpose::Totp, 2, &sealed).is_none());
        assert!(key.unseal(Purpose::TotpOffer, 1, &sealed).is_none());
        assert!(other.unseal(Purpose::Totp, 1, &sealed).is_none());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.unseal(Purpose::Totp, 1, &changed).is_none(), "{index}");
        }
        assert!(key.unseal(Purpose::Totp, 1, b"short").is_none());
        let text = key.seal_text(Purpose::Pending, &("a", 5)).unwrap();
        assert_eq!(key.unseal_text::<(String, i32)>(Purpose::Pending, &text), Some(("a".to_owned(), 5)));
        assert_eq!(key.unseal_text::<(String, i32)>(Purpose::Provider, &text), None);
        assert_eq!(key.unseal_text::<(String, i32)>(Purpose::Pending, "!"), None);
    }

    #[test]
    fn a_token_of_a_form_is_good_for_one_session() {
        let token = csrf_token(b"one").unwrap();
        assert_ne!(token, csrf_token(b"one").unwrap());
        assert!(csrf_holds(b"one", &token));
        assert!(!csrf_holds(b"two", &token));
        for wrong in ["", "!", "AAAA", &token[1..]] {
            assert!(!csrf_holds(b"one", wrong), "{wrong}");
        }
    }
}
