//! `token`: tokens of the API.

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::access::{failure, open, roles, scope, viewer};
use super::access_args::{TokenAction, TokenArgs};
use super::args::ReportFormat;
use super::connect::block_on;
use super::user::{in_words, scope_json};
use super::{Failure, output, table};
use crate::access::{NewToken, Token};
use crate::config::Config;
use crate::time::{Micros, SECOND, now, rfc3339};

/// A day.
const DAY: Micros = 86_400 * SECOND;

/// Runs the command.
pub fn execute(config: &Config, args: TokenArgs) -> Result<(), Failure> {
    let (access, viewer) = (open(config)?, viewer());
    block_on(async {
        match args.action {
            TokenAction::Add { account, name, role, days, forever, scope: who } => {
                let expires_at = (!forever).then(|| now().saturating_add(Micros::from(days.get()).saturating_mul(DAY)));
                let token = NewToken { name, roles: roles(&role), scope: scope(&who)?, expires_at };
                let (token, text) = access.add_token(&viewer, &account, token).await.map_err(failure)?;
                output::tell(&format!("token {} of {}; it is not shown again:", token.id, token.account));
                output::print(&format!("{}\n", text.expose_secret()))
            }
            TokenAction::List { account, format } => {
                let tokens = access.tokens(&viewer, account.as_deref()).await.map_err(failure)?;
                match format {
                    ReportFormat::Table => output::print(&as_table(&tokens)),
                    ReportFormat::Json => output::print(&format!("{}\n", tokens.iter().map(as_json).collect::<Value>())),
                }
            }
            TokenAction::Revoke { id } => {
                access.revoke_token(&viewer, id).await.map_err(failure)?;
                output::print(&format!("token {id} is revoked\n"))
            }
        }
    })
}

fn as_table(tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "There is no token.\n".to_owned();
    }
    let row = |token: &Token| {
        [
            token.id.to_string(),
            token.account.clone(),
            token.name.clone(),
            if token.roles.is_empty() { "all of the account".to_owned() } else { token.roles.to_string() },
            token.scope.as_ref().map_or_else(|| "that of the account".to_owned(), in_words),
            state(token),
            token.used_at.map(rfc3339).unwrap_or_default(),
        ]
    };
    table::render(["ID", "ACCOUNT", "PURPOSE", "ROLES", "SCOPE", "STATE", "LAST USED"], tokens.iter().map(row))
}

/// Whether it is in force, for people.
pub(super) fn state(token: &Token) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", rfc3339(at)),
        (None, Some(at)) if at <= now() => format!("over since {}", rfc3339(at)),
        (None, Some(at)) => format!("until {}", rfc3339(at)),
        (None, None) => "in force".to_owned(),
    }
}

/// A token as programs read it.
pub(super) fn as_json(token: &Token) -> Value {
    json!({
        "id": token.id,
        "account": token.account,
        "name": token.name,
        "roles": token.roles.iter().map(|role| role.word()).collect::<Value>(),
        "scope": token.scope.as_ref().map(scope_json),
        "created_at": rfc3339(token.created_at),
        "expires_at": token.expires_at.map(rfc3339),
        "used_at": token.used_at.map(rfc3339),
        "revoked_at": token.revoked_at.map(rfc3339),
    })
}
