//! Signing in by a provider of our own that speaks the protocol over HTTP, honestly or not.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::url::{Url, form_urlencoded};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use xmpp_archiver::access::{AccountChange, NewAccount, NewSession, OidcReturn, Permission, Role, Roles, SignInError, Way};
use xmpp_archiver::config::{OidcConfig, SecretSource};
use xmpp_archiver::time::SECOND;

use super::signing::{SigningKey, unsigned, with_secret};
use super::stage::{Stage, address};
use crate::support::archiver::StoreKind;
use crate::support::process::{Directory, wait_for};

const CLIENT: &str = "xmpp-archiver";
const SECRET: &str = "between client and provider";
const BACK: &str = "https://archive.example.com/sign-in/provider/return";

/// What the provider does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    None,
    WrongNonce,
    WrongAudience,
    WrongIssuer,
    Expired,
    JustExpired,
    FromTheFuture,
    WrongKey,
    ForgedName,
    AudienceOfOne,
    AudienceOfOthers,
    Unsigned,
    BySecret,
    NoToken,
    Garbage,
}

struct Provider {
    address: String,
    known: Arc<Mutex<Known>>,
}

struct Known {
    issuer: String,
    key: SigningKey,
    other: SigningKey,
    published: Vec<Value>,
    /// The nonce and the challenge of each code.
    codes: HashMap<String, (String, String)>,
    claims: Value,
    now: i64,
    trick: Trick,
    /// Whether it takes the question what it is, and gives no answer.
    is_silent: bool,
    /// Who waits for that answer.
    held: Vec<TcpStream>,
    /// How often it was asked what it is.
    asked: usize,
    directory: Directory,
}

impl Provider {
    fn start(claims: Value) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let directory = Directory::new(None);
        let key = SigningKey::new(&directory, "first");
        let other = SigningKey::new(&directory, "second");
        let known = Known {
            issuer: format!("http://{address}"),
            published: vec![key.public()],
            key,
            other,
            codes: HashMap::new(),
            claims,
            now: 0,
            trick: Trick::None,
            is_silent: false,
            held: Vec::new(),
            asked: 0,
            directory,
        };
        let known = Arc::new(Mutex::new(known));
        let shared = Arc::clone(&known);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let _client_gone = serve(socket, &shared);
            }
        });
        Provider { address, known }
    }

    fn config(&self) -> OidcConfig {
        OidcConfig {
            issuer: format!("http://{}", self.address),
            client_id: CLIENT.to_owned(),
            client_secret: Some(SecretSource::Inline(SECRET.to_owned().into())),
            tls_ca: None,
            scopes: vec!["profile".to_owned()],
            name_claim: "preferred_username".to_owned(),
            create: false,
            roles_claim: None,
            clock_skew: Duration::from_secs(60),
            roles: BTreeMap::new(),
        }
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().expect("the provider"));
    }

    fn asked(&self) -> usize {
        self.known.lock().expect("the provider").asked
    }

    fn wait_until_asked(&self, times: usize) {
        wait_for("a question to the provider", || (self.asked() == times).then_some(()));
    }
}

/// One request a connection.
fn serve(mut socket: TcpStream, known: &Mutex<Known>) -> std::io::Result<()> {
    let (head, body) = read(&mut socket)?;
    let (method, path) =
        head[0].split_once(' ').map(|(method, rest)| (method, rest.split(' ').next().unwrap_or_default())).unwrap_or_default();
    let mut known = known.lock().expect("the provider");
    let url = Url::parse(&format!("{}{path}", known.issuer)).expect("a path");
    let (status, extra, text) = match (method, url.path()) {
        ("GET", "/.well-known/openid-configuration") => {
            known.asked += 1;
            if known.is_silent {
                known.held.push(socket);
                return Ok(());
            }
            ("200 OK", String::new(), known.configuration().to_string())
        }
        ("GET", "/jwks") => ("200 OK", String::new(), json!({ "keys": known.published }).to_string()),
        ("GET", "/authorize") => ("302 Found", format!("Location: {}\r\n", known.authorize(&url)), String::new()),
        ("POST", "/token") => match known.token(&head, &body) {
            Ok(answer) => ("200 OK", String::new(), answer),
            Err(error) => ("400 Bad Request", String::new(), json!({ "error": "invalid_grant", "error_description": error }).to_string()),
        },
        _ => ("404 Not Found", String::new(), String::new()),
    };
    let length = text.len();
    write!(
        socket,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n{text}"
    )
}

fn read(socket: &mut TcpStream) -> std::io::Result<(Vec<String>, String)> {
    let mut reader = BufReader::new(socket);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    if head.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut body = vec![0; header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

fn header(head: &[String], name: &str) -> Option<String> {
    let fields = head.iter().skip(1).filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

impl Known {
    fn configuration(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        })
    }

    /// The person signs in and agrees.
    fn authorize(&mut self, url: &Url) -> String {
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!((query["client_id"].as_str(), query["response_type"].as_str()), (CLIENT, "code"));
        assert_eq!((query["redirect_uri"].as_str(), query["code_challenge_method"].as_str()), (BACK, "S256"));
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let code = format!("code-{}", self.codes.len());
        self.codes.insert(code.clone(), (query["nonce"].clone(), query["code_challenge"].clone()));
        format!("{BACK}?code={code}&state={}", query["state"])
    }

    fn token(&mut self, head: &[String], body: &str) -> Result<String, String> {
        let basic = header(head, "authorization").unwrap_or_default();
        let expected: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let expected = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{expected}")));
        if basic != expected {
            return Err("another client".to_owned());
        }
        let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let (nonce, challenge) = self.codes.remove(&form["code"]).ok_or("the code is not known, or was used")?;
        if URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes())) != challenge || form["redirect_uri"] != BACK {
            return Err("not who began".to_owned());
        }
        let mut answer = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 60 });
        if let Some(token) = self.id_token(&nonce) {
            answer["id_token"] = token.into();
        }
        Ok(answer.to_string())
    }

    fn id_token(&self, nonce: &str) -> Option<String> {
        let mut claims = self.claims.clone();
        let (issued, ends) = match self.trick {
            Trick::Expired => (self.now - 400, self.now - 100),
            Trick::JustExpired => (self.now - 330, self.now - 30),
            Trick::FromTheFuture => (self.now + 3_600, self.now + 7_200),
            _ => (self.now, self.now + 300),
        };
        let more = json!({
            "iss": if self.trick == Trick::WrongIssuer { "https://elsewhere.example" } else { &self.issuer },
            "aud": match self.trick {
                Trick::WrongAudience => json!("somebody else"),
                Trick::AudienceOfOne => json!([CLIENT]),
                Trick::AudienceOfOthers => json!([CLIENT, "somebody else"]),
                _ => json!(CLIENT),
            },
            "nonce": if self.trick == Trick::WrongNonce { "another" } else { nonce },
            "iat": issued,
            "exp": ends,
        });
        claims.as_object_mut()?.extend(more.as_object()?.clone());
        match self.trick {
            Trick::NoToken => None,
            Trick::Garbage => Some("a.b.c".to_owned()),
            Trick::Unsigned => Some(unsigned(&claims)),
            Trick::BySecret => Some(with_secret(SECRET, &claims)),
            Trick::WrongKey => Some(self.other.sign(&claims)),
            Trick::ForgedName => Some(self.other.sign_as("first", &claims)),
            _ => Some(self.key.sign(&claims)),
        }
    }
}

/// What a browser does: goes where it is sent, and comes back with what it was given.
fn browse(url: &str) -> (String, String) {
    let url = Url::parse(url).expect("a URL");
    let mut socket = TcpStream::connect((url.host_str().expect("a host"), url.port().expect("a port"))).expect("the provider");
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    write!(socket, "GET {path} HTTP/1.1\r\nHost: provider\r\nConnection: close\r\n\r\n").expect("ask");
    let (head, _) = read(&mut socket).expect("an answer");
    let back = Url::parse(&header(&head, "location").expect("a redirect")).expect("a URL");
    let query: HashMap<String, String> = back.query_pairs().into_owned().collect();
    (query["state"].clone(), query["code"].clone())
}

async fn sign_in(stage: &Stage) -> Result<NewSession, SignInError> {
    let start = stage.access.oidc_start().await?;
    let (state, code) = browse(&start.url);
    finish(stage, &start.cookie, &state, &code).await
}

async fn finish(stage: &Stage, cookie: &str, state: &str, code: &str) -> Result<NewSession, SignInError> {
    let address = address().expect("an address");
    stage.access.oidc_finish(OidcReturn { cookie, state, code, error: None, issuer: None, address, previous: None }).await
}

fn with_runtime(work: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(work());
}

async fn staged(provider: &Provider, config: OidcConfig) -> Stage {
    let stage = Stage::with_provider(StoreKind::Sqlite, Some(config)).await;
    provider.set(|known| known.now = stage.now() / SECOND);
    stage
}

#[test]
fn a_known_subject_signs_in_and_nobody_else() {
    with_runtime(async || {
        let provider = Provider::start(json!({ "sub": "4711", "preferred_username": "ann" }));
        let stage = staged(&provider, provider.config()).await;
        assert!(matches!(sign_in(&stage).await, Err(SignInError::Refused)), "nobody has this subject yet");
        assert_eq!(stage.newest(1).await, ["sign-in ? failed"]);
        let account = NewAccount {
            name: "ann.s".to_owned(),
            roles: Roles::of([Role::Officer]),
            oidc_subject: Some("4711".to_owned()),
            ..NewAccount::default()
        };
        stage.access.add_account(&stage.console, account.clone(), None).await.unwrap();
        let session = sign_in(&stage).await.unwrap();
        let viewer = &session.session.viewer;
        assert_eq!((viewer.name(), viewer.way(), viewer.may(Permission::ViewContent)), ("ann.s", Way::Provider, true));
        assert_eq!(stage.newest(1).await, ["sign-in ann.s done"]);
        assert!(stage.access.session(session.cookie.expose_secret(), address(), false).await.unwrap().is_some());
        let taken = NewAccount { name: "other".to_owned(), ..account };
        assert!(stage.access.add_account(&stage.console, taken, None).await.is_err());
        // There is no password to guess, and a disabled account stays out.
        assert!(stage.try_sign_in("ann.s", "horse staple cable").await.is_err());
        stage.access.change_account(&stage.console, "ann.s", AccountChange::Disable, None).await.unwrap();
        assert!(matches!(sign_in(&stage).await, Err(SignInError::Refused)));
    });
}

#[test]
fn what_is_not_right_is_not_believed() {
    with_runtime(async || {
        let provider = Provider::start(json!({ "sub": "4711" }));
        let stage = staged(&provider, provider.config()).await;
        let account = NewAccount { name: "ann".to_owned(), oidc_subject: Some("4711".to_owned()), ..NewAccount::default() };
        stage.access.add_account(&stage.console, account, None).await.unwrap();
        for (trick, is_believed) in [
            (Trick::WrongNonce, false),
            (Trick::WrongAudience, false),
            (Trick::WrongIssuer, false),
            (Trick::Expired, false),
            (Trick::JustExpired, true),
            (Trick::FromTheFuture, false),
            (Trick::WrongKey, false),
            (Trick::ForgedName, false),
            (Trick::AudienceOfOne, true),
            (Trick::AudienceOfOthers, false),
            (Trick::Unsigned, false),
            (Trick::BySecret, false),
            (Trick::NoToken, false),
            (Trick::Garbage, false),
            (Trick::None, true),
        ] {
            provider.set(|known| known.trick = trick);
            let outcome = sign_in(&stage).await;
            assert_eq!(outcome.is_ok(), is_believed, "{trick:?}: {:?}", outcome.err());
        }
    });
}

#[test]
fn an_answer_belongs_to_the_browser_that_asked() {
    with_runtime(async || {
        let provider = Provider::start(json!({ "sub": "4711" }));
        let stage = staged(&provider, provider.config()).await;
        let account = NewAccount { name: "ann".to_owned(), oidc_subject: Some("4711".to_owned()), ..NewAccount::default() };
        stage.access.add_account(&stage.console, account, None).await.unwrap();
        let (mine, yours) = (stage.access.oidc_start().await.unwrap(), stage.access.oidc_start().await.unwrap());
        let (state, code) = browse(&mine.url);
        assert!(matches!(finish(&stage, &yours.cookie, &state, &code).await, Err(SignInError::Stale(_))));
        assert!(matches!(finish(&stage, "nonsense", &state, &code).await, Err(SignInError::Stale(_))));
        // A code of another browser: the provider sees that it was not asked for with this verifier.
        let (other_state, _) = browse(&yours.url);
        assert!(matches!(finish(&stage, &yours.cookie, &other_state, &code).await, Err(SignInError::Refused)));
        let (state, code) = browse(&mine.url);
        finish(&stage, &mine.cookie, &state, &code).await.unwrap();
        assert!(finish(&stage, &mine.cookie, &state, &code).await.is_err(), "the same code again");
        let late = stage.access.oidc_start().await.unwrap();
        let (state, code) = browse(&late.url);
        stage.wait(600);
        assert!(matches!(finish(&stage, &late.cookie, &state, &code).await, Err(SignInError::Stale(_))));
    });
}

#[test]
fn keys_may_change() {
    with_runtime(async || {
        let provider = Provider::start(json!({ "sub": "4711" }));
        let stage = staged(&provider, provider.config()).await;
        let account = NewAccount { name: "ann".to_owned(), oidc_subject: Some("4711".to_owned()), ..NewAccount::default() };
        stage.access.add_account(&stage.console, account, None).await.unwrap();
        sign_in(&stage).await.unwrap();
        provider.set(|known| {
            std::mem::swap(&mut known.key, &mut known.other);
            known.published = vec![known.key.public()];
        });
        stage.wait(61);
        provider.set(|known| known.now += 61);
        sign_in(&stage).await.unwrap();
        // Another key by the name of the one before.
        provider.set(|known| {
            let name = known.key.name().to_owned();
            known.key = SigningKey::new(&known.directory, &name);
            known.published = vec![known.key.public()];
        });
        stage.wait(61);
        provider.set(|known| known.now += 61);
        sign_in(&stage).await.unwrap();
    });
}

#[test]
fn roles_follow_the_provider_where_it_names_them() {
    with_runtime(async || {
        let provider =
            Provider::start(json!({ "sub": "4711", "preferred_username": "Ann", "name": "Ann Smith", "groups": ["staff", "compliance"] }));
        let mut config = provider.config();
        config.create = true;
        config.roles_claim = Some("groups".to_owned());
        config.roles = BTreeMap::from([
            ("officer", vec!["compliance".to_owned()]),
            ("operator", vec!["im".to_owned()]),
            ("administrator", vec!["admins".to_owned()]),
        ]);
        let stage = staged(&provider, config).await;
        let session = sign_in(&stage).await.unwrap();
        assert_eq!((session.session.viewer.name(), session.session.viewer.display_name()), ("ann", "Ann Smith"));
        assert_eq!(session.session.viewer.roles(), Roles::of([Role::Officer]));
        assert_eq!(stage.newest(2).await, ["account-add provider done", "sign-in ann done"]);
        provider.set(|known| known.claims["groups"] = json!(["im"]));
        assert_eq!(sign_in(&stage).await.unwrap().session.viewer.roles(), Roles::of([Role::Operator]));
        assert_eq!(stage.newest(2).await, ["account-roles ann done", "sign-in ann done"]);
        let rows = stage.audit().await;
        let changed = rows.iter().find(|row| row.action == "account-roles").expect("a row");
        assert_eq!((&changed.target["from"], &changed.target["by"]), (&json!(["officer"]), &json!("provider")));
        let still = stage.access.session(session.cookie.expose_secret(), None, false).await.unwrap().unwrap();
        assert_eq!(still.viewer.roles(), Roles::of([Role::Operator]), "the session that was there lost them, too");
        for groups in [json!(["admins", "compliance"]), json!(["staff"]), json!(null)] {
            provider.set(|known| known.claims["groups"] = groups.clone());
            assert!(matches!(sign_in(&stage).await, Err(SignInError::Refused)), "{groups}");
        }
        // A name that is somebody's already is not taken over.
        provider.set(|known| known.claims = json!({ "sub": "4712", "preferred_username": "ann", "groups": "compliance" }));
        assert!(matches!(sign_in(&stage).await, Err(SignInError::Refused)));
        provider.set(|known| known.claims["preferred_username"] = json!("bob"));
        assert_eq!(sign_in(&stage).await.unwrap().session.viewer.name(), "bob");
    });
}

#[test]
fn a_provider_that_is_away_is_told() {
    with_runtime(async || {
        let mut config = Provider::start(json!({})).config();
        config.issuer = "http://127.0.0.1:9".to_owned();
        let stage = Stage::with_provider(StoreKind::Sqlite, Some(config.clone())).await;
        let said = stage.access.oidc_start().await.unwrap_err().to_string();
        assert!(said.contains("http://127.0.0.1:9") && said.contains("can't be asked"), "{said}");
        config.issuer = "http://login.example.com".to_owned();
        let stage = Stage::with_provider(StoreKind::Sqlite, Some(config)).await;
        let said = stage.access.oidc_start().await.unwrap_err().to_string();
        assert!(said.contains("not asked without TLS"), "{said}");
        let none = Stage::new(StoreKind::Sqlite).await;
        assert!(!none.access.has_provider() && none.access.oidc_start().await.is_err());
    });
}

#[test]
fn a_provider_that_hangs_is_waited_for_together() {
    with_runtime(async || {
        let provider = Provider::start(json!({}));
        let stage = staged(&provider, provider.config()).await;
        provider.set(|known| known.is_silent = true);
        let access = stage.access.clone();
        let first = tokio::spawn(async move { access.oidc_start().await });
        provider.wait_until_asked(1);
        let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(stage.access.oidc_start())).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.iter_mut().all(|visit| visit.as_mut().poll(&mut context).is_pending()));
        // The one who asked leaves, and the question is still theirs.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        provider.set(|known| known.held.clear());
        let mut said = Vec::new();
        for visit in waiting {
            said.push(visit.await.unwrap_err().to_string());
        }
        assert!(said[0].contains("can't be asked") && said.iter().all(|one| *one == said[0]), "{said:?}");
        // So are those who come in the seconds after, at once.
        stage.wait(9);
        assert_eq!(stage.access.oidc_start().await.unwrap_err().to_string(), said[0]);
        assert_eq!(provider.asked(), 1);
        // Then somebody asks again, and those who wait get what is said now.
        stage.wait(1);
        provider.set(|known| known.is_silent = false);
        let visits: Vec<_> =
            (0..8).map(|_| stage.access.clone()).map(|access| tokio::spawn(async move { access.oidc_start().await })).collect();
        for visit in visits {
            visit.await.unwrap().unwrap();
        }
        assert_eq!(provider.asked(), 2);
    });
}

#[test]
fn what_is_known_of_a_provider_lasts_while_it_hangs() {
    with_runtime(async || {
        let provider = Provider::start(json!({ "sub": "4711" }));
        let stage = staged(&provider, provider.config()).await;
        let account = NewAccount { name: "ann".to_owned(), oidc_subject: Some("4711".to_owned()), ..NewAccount::default() };
        stage.access.add_account(&stage.console, account, None).await.unwrap();
        sign_in(&stage).await.unwrap();
        let start = stage.access.oidc_start().await.unwrap();
        let (state, code) = browse(&start.url);
        stage.wait(61);
        // A key that is not known: the keys are asked for anew, which hangs, and nobody else waits for that.
        provider.set(|known| (known.trick, known.is_silent, known.now) = (Trick::WrongKey, true, known.now + 61));
        let mut visit = Box::pin(finish(&stage, &start.cookie, &state, &code));
        let asked = async {
            while provider.asked() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = &mut visit => panic!("nothing answers it"),
            () = asked => {}
        }
        stage.access.oidc_start().await.unwrap();
        provider.set(|known| known.held.clear());
        assert!(matches!(visit.await, Err(SignInError::Away(_))));
    });
}
