//! Signing in by the company's provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636) and nonce.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
};
use openidconnect::{
    AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IdToken, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, TokenResponse,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::account::{self, NewAccount};
use super::audit::{Action, Actor, Event};
use super::change::{By, folded, words};
use super::crypt::Purpose;
use super::oidc_http::HttpClient;
use super::role::Roles;
use super::session::micros;
use super::signin::{Entry, NewSession, Proof, SignInError, Who, stale};
use super::viewer::Way;
use super::{Access, AccessError};
use crate::config::{OidcConfig, SecretSource};
use crate::store::access::accounts;
use crate::store::access::rows::AccountRow;
use crate::time::{Micros, SECOND};

/// For how long somebody may be at the provider.
const AWAY_LASTS: Micros = 600 * SECOND;
/// For how long what the provider says of itself is remembered.
const METADATA_LASTS: Micros = 3_600 * SECOND;
/// Keys that are not known are asked for no more often than this, whatever tokens are shown to us.
const KEYS_LAST: Micros = 60 * SECOND;
/// For how long whoever comes after a failure is told of it at once: a provider that hangs is not waited for by one after another.
const FAILURE_LASTS: Micros = 10 * SECOND;

/// The way to the provider.
#[derive(Debug)]
pub struct OidcStart {
    /// Where the browser is sent.
    pub url: String,
    /// What has to stand in a cookie of its own until it comes back (`HttpOnly`, `Secure`, `SameSite=Lax`, ten minutes); sealed.
    pub cookie: String,
}

/// What the browser brings back.
#[derive(Debug)]
pub struct OidcReturn<'a> {
    /// The cookie of [`OidcStart`].
    pub cookie: &'a str,
    /// `state` of the query.
    pub state: &'a str,
    /// `code` of the query.
    pub code: &'a str,
    /// `error` of the query: the provider let nobody in (RFC 6749 section 4.1.2.1).
    pub error: Option<&'a str>,
    /// `iss` of the query: which provider it was, where it says so (RFC 9207).
    pub issuer: Option<&'a str>,
    /// From where.
    pub address: IpAddr,
    /// The cookie of a session that came with the request, which ends.
    pub previous: Option<&'a str>,
}

/// The path, below the public URL, to which the provider sends the browser back.
pub const RETURN_PATH: &str = "/sign-in/provider/return";

/// Claims that the standard does not know, such as groups.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Others {
    #[serde(flatten)]
    all: HashMap<String, Value>,
}

impl AdditionalClaims for Others {}

type Token = IdToken<Others, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;
type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Signatures that the provider's public keys verify. `none` is none, and those that a shared secret makes prove nothing to us.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What the provider says of itself, with its keys, or why it says nothing, remembered for a while.
#[derive(Default)]
pub(super) struct Provider {
    memory: Mutex<Memory>,
    /// Held by the one question that is under way, which answers for all who wait for it.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Memory {
    /// What it said, and when it was asked.
    known: Option<(CoreProviderMetadata, Micros)>,
    /// How the last question failed, and when that was clear; none once it has answered.
    failed: Option<(String, Micros)>,
}

impl Provider {
    /// What can be said without asking. With `anew`, only what is as young as keys have to be.
    fn remembered(&self, now: Micros, anew: bool) -> Option<Result<CoreProviderMetadata, String>> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = if anew { KEYS_LAST } else { METADATA_LASTS };
        if let Some((metadata, _)) = memory.known.as_ref().filter(|(_, asked_at)| now - asked_at < lasts) {
            return Some(Ok(metadata.clone()));
        }
        // A clock that is set back must not make a failure last.
        let failed = memory.failed.as_ref().filter(|(_, failed_at)| (0..FAILURE_LASTS).contains(&(now - failed_at)));
        failed.map(|(said, _)| Err(said.clone()))
    }

    fn remember(&self, answer: &Result<CoreProviderMetadata, String>, asked_at: Micros, now: Micros) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(metadata) => *memory = Memory { known: Some((metadata.clone(), asked_at)), failed: None },
            Err(said) => memory.failed = Some((said.clone(), now)),
        }
    }
}

/// What is sealed into the cookie while the browser is away.
#[derive(Serialize, Deserialize)]
struct Remembered {
    state: String,
    nonce: String,
    verifier: String,
    until: Micros,
}

/// Who the provider says somebody is.
struct Vouched {
    subject: String,
    claims: Value,
}

/// Why nobody is vouched for.
enum Doubt {
    /// The provider can't be asked, or does not answer us: that says nothing of whoever came.
    Away(SignInError),
    /// It let nobody in, and says this word: a person said no there, for one.
    Unwilling(String),
    /// What came does not hold.
    Wrong(String),
}

impl Access {
    /// Whether there is a provider.
    pub fn has_provider(&self) -> bool {
        self.inner.settings.oidc.is_some()
    }

    /// Begins.
    ///
    /// # Errors
    /// When there is no provider, or it does not answer.
    pub async fn oidc_start(&self) -> Result<OidcStart, SignInError> {
        let config = self.provider_config()?;
        let client = self.client(config, false).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let request = client.authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random);
        let scopes = config.scopes.iter().filter(|scope| *scope != "openid").map(|scope| Scope::new(scope.clone()));
        let (url, state, nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
        let remembered = Remembered {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            until: self.now() + AWAY_LASTS,
        };
        Ok(OidcStart { url: url.into(), cookie: self.key().await?.seal_text(Purpose::Provider, &remembered)? })
    }

    /// Ends: asks the provider for the token, checks it, finds the account.
    ///
    /// # Errors
    /// As [`SignInError`] says.
    pub async fn oidc_finish(&self, back: OidcReturn<'_>) -> Result<NewSession, SignInError> {
        let config = self.provider_config()?;
        let now = self.now();
        let remembered: Option<Remembered> = self.key().await?.unseal_text(Purpose::Provider, back.cookie);
        let remembered = remembered.filter(|remembered| remembered.until > now).ok_or_else(stale)?;
        if !bool::from(remembered.state.as_bytes().ct_eq(back.state.as_bytes()))
            || back.issuer.is_some_and(|issuer| issuer != config.issuer)
        {
            return Err(SignInError::Stale("the answer is not to what this browser asked: begin anew".to_owned()));
        }
        self.enter(back.address)?;
        let vouched = match back.error {
            Some(error) => Err(sent_back(config, word(error))),
            None => self.vouched(config, &remembered, back.code).await,
        };
        let vouched = match vouched {
            Ok(vouched) => vouched,
            Err(Doubt::Away(error)) => {
                self.inner.gate.leave(back.address, now);
                return Err(error);
            }
            Err(Doubt::Wrong(said)) => {
                log::warn!("signing in by {} failed: {said}", config.issuer);
                return Err(self.refuse(Who::Name(String::new()), back.address, "provider").await?);
            }
            Err(Doubt::Unwilling(said)) => {
                log::warn!("{} sent somebody back: {said}", config.issuer);
                self.refuse(Who::Name(String::new()), back.address, "provider").await?;
                return Err(SignInError::Stale(format!("The company’s log-in let nobody in ({said}).")));
            }
        };
        let Some((account, roles)) = self.account_of(config, &vouched, back.address).await? else {
            return Err(self.refuse(Who::Name(String::new()), back.address, "provider").await?);
        };
        self.inner.gate.leave(back.address, now);
        let previous = back.previous.map(str::to_owned);
        let entry = Entry { account, way: Way::Provider, address: back.address, previous, with: Proof::Provider(roles) };
        self.admit(entry).await
    }

    fn provider_config(&self) -> Result<&OidcConfig, SignInError> {
        let config = self.inner.settings.oidc.as_ref();
        config.ok_or_else(|| AccessError::Missing("no provider is configured".to_owned()).into())
    }

    async fn client(&self, config: &OidcConfig, anew: bool) -> Result<Client, SignInError> {
        let metadata = self.metadata(config, anew).await?;
        let wrong = |error: &dyn std::fmt::Display| AccessError::Broken(format!("web.oidc: {error}"));
        let secret = config.client_secret.as_ref().map(SecretSource::read).transpose().map_err(|error| wrong(&error))?;
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let is_plain = is_plain(&config.client_id) && secret.as_ref().is_none_or(|secret| is_plain(secret.secret()));
        let in_body = metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| {
            let takes = |method| methods.contains(&method);
            !takes(CoreClientAuthMethod::ClientSecretBasic) || (!is_plain && takes(CoreClientAuthMethod::ClientSecretPost))
        });
        let back = format!("{}{RETURN_PATH}", self.inner.settings.public_url);
        let back = RedirectUrl::new(back).map_err(|error| wrong(&error))?;
        let client = CoreClient::from_provider_metadata(metadata, ClientId::new(config.client_id.clone()), secret).set_redirect_uri(back);
        Ok(if in_body { client.set_auth_type(AuthType::RequestBody) } else { client })
    }

    async fn metadata(&self, config: &OidcConfig, anew: bool) -> Result<CoreProviderMetadata, SignInError> {
        let provider = &self.inner.provider;
        if let Some(answer) = provider.remembered(self.now(), anew) {
            return answer.map_err(SignInError::Away);
        }
        let turn = Arc::clone(&provider.asking).lock_owned().await;
        // Whoever asked meanwhile has asked for those who waited.
        if let Some(answer) = provider.remembered(self.now(), anew) {
            return answer.map_err(SignInError::Away);
        }
        let (access, config) = (self.clone(), config.clone());
        // On a task of its own, since a visitor may leave before the answer is there, and the next one would begin anew.
        let asked = tokio::spawn(async move {
            let asked_at = access.now();
            let answer = asked(&config).await;
            access.inner.provider.remember(&answer, asked_at, access.now());
            drop(turn);
            answer
        });
        let answer = asked.await.map_err(|error| AccessError::Broken(format!("asking the provider broke off: {error}")))?;
        answer.map_err(SignInError::Away)
    }

    /// Exchanges the code for a token, and believes what is in it if all of it is right. Keys that don't fit are asked for once more: a
    /// provider may change a key without giving it another name.
    async fn vouched(&self, config: &OidcConfig, remembered: &Remembered, code: &str) -> Result<Vouched, Doubt> {
        use SignatureVerificationError::{CryptoError, InvalidKey, NoMatchingKey};
        let client = self.client(config, false).await.map_err(Doubt::Away)?;
        let token = self.token(config, &client, remembered, code).await?;
        let nonce = Nonce::new(remembered.nonce.clone());
        match self.believe(config, &client, &token, &nonce) {
            Err(ClaimsVerificationError::SignatureVerification(NoMatchingKey | CryptoError(_) | InvalidKey(_))) => {
                let client = self.client(config, true).await.map_err(Doubt::Away)?;
                self.believe(config, &client, &token, &nonce)
            }
            outcome => outcome,
        }
        .map_err(|error| Doubt::Wrong(whole(&error)))
    }

    /// What the provider gives for the code.
    async fn token(&self, config: &OidcConfig, client: &Client, remembered: &Remembered, code: &str) -> Result<Token, Doubt> {
        let wrong = |error: &dyn std::fmt::Display| Doubt::Wrong(error.to_string());
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned())).map_err(|error| wrong(&error))?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(remembered.verifier.clone()));
        let http = HttpClient::new(config);
        let answer = request.request_async(&http).await.map_err(|error| match &error {
            RequestTokenError::Request(_) | RequestTokenError::Parse(..) => Doubt::Away(away(config, &whole(&error))),
            RequestTokenError::ServerResponse(said) if is_about_us(said.error()) => Doubt::Away(away(config, &error)),
            _ => Doubt::Wrong(whole(&error)),
        })?;
        let token = answer.id_token().ok_or_else(|| wrong(&"it gave no ID token"))?.to_string();
        token.parse().map_err(|error: serde_json::Error| wrong(&error))
    }

    /// Issuer, audience, signature, nonce, and times, with the clocks as far apart as the configuration allows.
    fn believe(&self, config: &OidcConfig, client: &Client, token: &Token, nonce: &Nonce) -> Result<Vouched, ClaimsVerificationError> {
        let (now, skew) = (self.now(), micros(config.clock_skew));
        let late = chrono::DateTime::from_timestamp_micros(now - skew).unwrap_or_default();
        let latest = chrono::DateTime::from_timestamp_micros(now + skew).unwrap_or_default();
        let issued = move |at: chrono::DateTime<chrono::Utc>| match at <= latest {
            true => Ok(()),
            false => Err("it was issued in the future".to_owned()),
        };
        let verifier = client.id_token_verifier().set_allowed_algs(SIGNATURES).set_time_fn(move || late).set_issue_time_verifier_fn(issued);
        let claims = token.claims(&verifier, nonce)?;
        let subject = claims.subject().to_string();
        let claims = serde_json::to_value(claims).map_err(|error| ClaimsVerificationError::Other(error.to_string()))?;
        Ok(Vouched { subject, claims })
    }

    /// The account, and the roles if the provider gives them. None for somebody who is nobody here.
    async fn account_of(
        &self,
        config: &OidcConfig,
        vouched: &Vouched,
        address: IpAddr,
    ) -> Result<Option<(i64, Option<Roles>)>, AccessError> {
        let roles = config.roles_claim.as_ref().and_then(|claim| config.roles_of(&texts(vouched.claims.get(claim))));
        if let Some(roles) = roles
            && let Some(wrong) = roles_wrong(roles)
        {
            log::warn!("{} of {} is not let in: {wrong}", vouched.subject, config.issuer);
            return Ok(None);
        }
        let (issuer, subject) = (config.issuer.clone(), vouched.subject.clone());
        let known = self.ask(async move |connection| Ok(accounts::of_subject(connection, &issuer, &subject).await?)).await?;
        match (known, roles) {
            (Some(row), roles) => Ok(Some((row.id, roles))),
            (None, Some(given)) if config.create => Ok(self.made(config, vouched, given, address).await?.map(|id| (id, roles))),
            (None, _) => {
                log::warn!("{} of {} has no account here", vouched.subject, config.issuer);
                Ok(None)
            }
        }
    }

    /// Makes an account for somebody who comes for the first time. One of the same name belongs to somebody else, as far as we know.
    async fn made(&self, config: &OidcConfig, vouched: &Vouched, roles: Roles, address: IpAddr) -> Result<Option<i64>, AccessError> {
        let name = vouched.claims.get(&config.name_claim).and_then(Value::as_str).map(folded);
        let Some(name) = name.filter(|name| account::check_name(name).is_ok() && vouched.subject.len() <= account::MAX_SUBJECT_BYTES)
        else {
            log::warn!("{} of {} gets no account: the claim {} names none", vouched.subject, config.issuer, config.name_claim);
            return Ok(None);
        };
        let display_name = vouched.claims.get("name").and_then(Value::as_str).unwrap_or_default();
        let display_name = account::display_name(display_name, &name).unwrap_or_else(|_unfit| name.clone());
        let oidc_subject = Some(vouched.subject.clone());
        let account = NewAccount { name, display_name, roles, oidc_subject, ..NewAccount::default() };
        let row = AccountRow { oidc_issuer: Some(config.issuer.clone()), ..self.row_of(Way::Provider, &account) };
        let actor = Actor {
            account: None,
            name: "provider".to_owned(),
            roles: Roles::default(),
            way: "provider",
            address: Some(address.to_string()),
        };
        let by = By { actor, reason: None, now: self.now() };
        self.change(async move |connection| {
            if accounts::named(connection, &row.name).await?.is_some() {
                log::warn!("somebody of the provider would be called {}, which another account is: set its subject by `xmpp-archiver user set-subject`", row.name);
                return Ok(None);
            }
            let id = accounts::insert(connection, &row).await?;
            let target = json!({ "account": row.name, "roles": words(roles), "subject": row.oidc_subject });
            by.note(connection, Event::new(Action::AccountAdd, target)).await?;
            Ok(Some(id))
        })
        .await
    }
}

/// What the provider says of itself, or why it can't be asked, which is in the log then.
async fn asked(config: &OidcConfig) -> Result<CoreProviderMetadata, String> {
    let away = |error: &dyn std::fmt::Display| said_away(config, error);
    let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|error| away(&error))?;
    let http = HttpClient::new(config);
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.map_err(|error| away(&whole(&error)))?;
    let keys = with_full_points(metadata.jwks()).map_err(|error| away(&error))?;
    Ok(metadata.set_jwks(keys))
}

/// The same keys, with the coordinates of elliptic curves in full length, as RFC 7518 section 6.2.1.2 wants them. Some providers leave the
/// leading zeros out, which one key of 128 has, and what such a key signed would be refused.
fn with_full_points(keys: &CoreJsonWebKeySet) -> serde_json::Result<CoreJsonWebKeySet> {
    let mut keys = serde_json::to_value(keys)?;
    for key in keys.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        let length = match key.get("crv").and_then(Value::as_str) {
            Some("P-256") => 32,
            Some("P-384") => 48,
            _ => continue,
        };
        for name in ["x", "y"] {
            if let Some(coordinate) = key.get_mut(name)
                && let Some(bytes) = coordinate.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                && bytes.len() < length
            {
                let mut full = vec![0; length - bytes.len()];
                full.extend(bytes);
                *coordinate = URL_SAFE_NO_PAD.encode(full).into();
            }
        }
    }
    serde_json::from_value(keys)
}

fn roles_wrong(roles: Roles) -> Option<String> {
    match roles.check() {
        Err(exclusion) => Some(exclusion.to_string()),
        Ok(()) if roles.is_empty() => Some("no value of its claim gives a role".to_owned()),
        Ok(()) => None,
    }
}

/// The provider can't be asked, and why, for the log.
fn away(config: &OidcConfig, error: &dyn std::fmt::Display) -> SignInError {
    SignInError::Away(said_away(config, error))
}

fn said_away(config: &OidcConfig, error: &dyn std::fmt::Display) -> String {
    let said = format!("the provider {} can't be asked: {error}", config.issuer);
    log::error!("{said}");
    said
}

/// The provider sent somebody back with an error (RFC 6749 section 4.1.2.1).
fn sent_back(config: &OidcConfig, error: &str) -> Doubt {
    match error {
        "server_error" | "temporarily_unavailable" => Doubt::Away(away(config, &error)),
        _ => Doubt::Unwilling(error.to_owned()),
    }
}

/// Whether the provider does not take us, rather than the code that somebody brought (RFC 6749 section 5.2).
fn is_about_us(error: &CoreErrorResponseType) -> bool {
    matches!(error, CoreErrorResponseType::InvalidClient | CoreErrorResponseType::UnauthorizedClient)
}

/// Whether a text is the same when it stands in a form. What is not has to be written as one in the header of HTTP Basic (RFC 6749 section
/// 2.3.1), and there are providers that compare it as it stands there; in the body there is one way to write it.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The code of an error, which came by way of a browser: nothing else is shown or logged.
fn word(error: &str) -> &str {
    let is_word = error.len() <= 40 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { error } else { "an error without a name" }
}

/// The texts of a claim that is a list or one text.
fn texts(claim: Option<&Value>) -> Vec<String> {
    match claim {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// An error with what lies below it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text.push_str(&format!(": {error}"));
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that rhonabwy 1.1 wrote, with x or y one byte short, and their points as OpenSSL writes them.
    #[test]
    fn coordinates_without_their_leading_zeros_are_filled_up() {
        let short = json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "1",
              "x": "Q9uQX0tRMGW9fjsf8PMPSII9lo-505hgDIovATOohA", "y": "wpUtgTfFrmWjS66T2KPH9pYwK7A1q4TRKJZEsxNYtyg" },
            { "kty": "EC", "crv": "P-256", "kid": "2",
              "x": "SZV9aRJJPbL1UoiaTCvTbzF8eVRfzwkFcPcBqNj-UZw", "y": "sc1-YYe53EBL6Cblzy97Kc7Muk3HlIEvio2ibT2joA" },
            { "kty": "EC", "crv": "P-384", "kid": "3",
              "x": "xbhCQjTWTWWM1aGlasK-73FbXN82_qwvWcLi4ri03llSQIODQkUmIwIOeyuYtXg",
              "y": "sHVaDsTZ8wPz25wVpNa6ups4cZgFXPkH-zKLwYaK7HfuHBi7aMB5JDl-UkXuDHdN" },
            { "kty": "RSA", "kid": "4", "n": "AQAB", "e": "AQAB", "alg": "RS256", "use": "sig" },
        ] });
        let keys: CoreJsonWebKeySet = serde_json::from_value(short.clone()).unwrap();
        let full = serde_json::to_value(with_full_points(&keys).unwrap()).unwrap();
        let mut expected = short;
        expected["keys"][0]["x"] = "AEPbkF9LUTBlvX47H_DzD0iCPZaPudOYYAyKLwEzqIQ".into();
        expected["keys"][1]["y"] = "ALHNfmGHudxAS-gm5c8veynOzLpNx5SBL4qNom09o6A".into();
        expected["keys"][2]["x"] = "AMW4QkI01k1ljNWhpWrCvu9xW1zfNv6sL1nC4uK4tN5ZUkCDg0JFJiMCDnsrmLV4".into();
        assert_eq!(full, expected);
    }
}
