//! That secrets are sealed with one key, whoever seals them from wherever.
//!
//! The path of the key file may be relative, and the command line may be used in another directory than the one in which the console runs. It would find no
//! file there, make one, and seal a second factor with a key that the console does not have. So a mark of the key lies in the table `settings`, and whoever comes with
//! another key, or with none where something is sealed, is told instead.

use subtle::ConstantTimeEq;

use super::crypt::{Key, Purpose};
use super::{Access, AccessError};
use crate::store::access::accounts;

/// Who needs the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The console at its start. As long as nothing is sealed, its key is the one.
    Console,
    /// Whoever seals or opens something.
    Anybody,
}

impl Access {
    /// The key, which is read when it is first needed: most of what the command line does needs none.
    pub(super) async fn key(&self) -> Result<&Key, AccessError> {
        self.key_of(Keeper::Anybody).await
    }

    pub(super) async fn key_of(&self, keeper: Keeper) -> Result<&Key, AccessError> {
        self.inner.key.get_or_try_init(|| self.load_key(keeper)).await
    }

    async fn load_key(&self, keeper: Keeper) -> Result<Key, AccessError> {
        let path = &self.inner.settings.key_file;
        let shown = std::path::absolute(path).unwrap_or_else(|_no_directory| path.clone()).display().to_string();
        let sealed = self.ask(async |connection| Ok(accounts::any_sealed(connection).await?)).await?;
        let mark = self.ask(async |connection| Ok(accounts::key_mark(connection).await?)).await?;
        let is_bound = sealed.is_some() || (mark.is_some() && keeper == Keeper::Anybody);
        if is_bound && !path.exists() {
            return Err(AccessError::Broken(format!(
                "there is no key file {shown}, and this store has one already: work in the directory in which the console runs, name the file by its \
                 whole path in [web] key_file, or put it back from its copy"
            )));
        }
        let key = Key::load(path)?;
        let opens = sealed.is_none_or(|(account, secret)| key.unseal(Purpose::Totp, account, &secret).is_some());
        let own = key.mark();
        let is_known = mark.as_ref().is_none_or(|mark| mark.as_slice().ct_eq(&own).into());
        if !opens || (is_bound && !is_known) {
            return Err(AccessError::Broken(format!(
                "the key file {shown} is not the one that belongs to this store: work in the directory in which the console runs, or name the file \
                 by its whole path in [web] key_file"
            )));
        }
        if mark.is_none() || !is_known {
            self.change(async move |connection| Ok(accounts::set_key_mark(connection, &own).await?)).await?;
        }
        Ok(key)
    }
}
