//! Rows as they are inserted and read.

use diesel::prelude::*;

use crate::store::schema::{accounts, audit, people_groups, sessions, tokens};

/// A row of `accounts`. Its `Debug` names no secret.
#[derive(Clone, Insertable, Queryable, AsChangeset)]
#[diesel(table_name = accounts, treat_none_as_default_value = false, treat_none_as_null = true)]
pub struct AccountRow {
    /// Its number.
    pub id: i64,
    /// When it was made.
    pub created_at: i64,
    /// When somebody last changed it.
    pub changed_at: i64,
    /// When somebody last signed in with it.
    pub signed_in_at: Option<i64>,
    /// Until when passwords are refused.
    pub locked_until: Option<i64>,
    /// The last step whose code was used.
    pub totp_step: i64,
    /// The sum of its roles.
    pub roles: i32,
    /// Failures in a row.
    pub failures: i32,
    /// 1 when nobody can sign in.
    pub disabled: i16,
    /// 1 when the password must be changed first.
    pub must_change: i16,
    /// The name to sign in with.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// Its scope as JSON.
    pub scope: Option<String>,
    /// Argon2id in PHC format.
    pub password_hash: Option<String>,
    /// The issuer of its provider.
    pub oidc_issuer: Option<String>,
    /// Who it is there.
    pub oidc_subject: Option<String>,
    /// The sealed secret of the second factor.
    pub totp_secret: Option<Vec<u8>>,
}

impl std::fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountRow({} {})", self.id, self.name)
    }
}

/// A row of `people_groups`.
#[derive(Clone, Debug, Insertable, Queryable, AsChangeset)]
#[diesel(table_name = people_groups)]
pub struct GroupRow {
    /// Its number.
    pub id: i64,
    /// When it was last changed.
    pub changed_at: i64,
    /// Its name.
    pub name: String,
    /// Its members as JSON.
    pub members: String,
}

/// A row of `sessions`.
#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = sessions, treat_none_as_default_value = false)]
pub struct SessionRow {
    /// SHA-256 of the cookie.
    pub hash: Vec<u8>,
    /// The key of the tokens in its forms.
    pub csrf: Vec<u8>,
    /// Whose.
    pub account_id: i64,
    /// When it began.
    pub created_at: i64,
    /// When it was last used.
    pub used_at: i64,
    /// When it ends at the latest.
    pub expires_at: i64,
    /// 1 by a password, 2 by the provider.
    pub way: i16,
    /// From where it was begun.
    pub address: Option<String>,
}

impl std::fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionRow(of {})", self.account_id)
    }
}

/// A row of `tokens`.
#[derive(Clone, Insertable, Queryable)]
#[diesel(table_name = tokens, treat_none_as_default_value = false)]
pub struct TokenRow {
    /// Its number.
    pub id: i64,
    /// Whose.
    pub account_id: i64,
    /// When it was made.
    pub created_at: i64,
    /// When it ends.
    pub expires_at: Option<i64>,
    /// When it was last used.
    pub used_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// The sum of the roles that it was given, 0 for all.
    pub roles: i32,
    /// SHA-256 of it.
    pub hash: Vec<u8>,
    /// What it is for.
    pub name: String,
    /// The scope that it was given, as JSON.
    pub scope: Option<String>,
}

impl std::fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenRow({} {})", self.id, self.name)
    }
}

/// A row of `audit`.
#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = audit, treat_none_as_default_value = false)]
pub struct EntryRow {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: i64,
    /// The account.
    pub account_id: Option<i64>,
    /// How many.
    pub count: Option<i64>,
    /// The sum of the roles in force.
    pub roles: i32,
    /// 1 done, 2 denied, 3 failed.
    pub outcome: i16,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// How the actor was believed.
    pub way: String,
    /// From where.
    pub address: Option<String>,
    /// On what, as JSON.
    pub target: String,
    /// Why.
    pub reason: Option<String>,
}
