//! E-mail through lettre: one plain text a change, one connection each, as rare as alarms are.

use std::sync::atomic::{AtomicU64, Ordering};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;

use super::text;
use crate::alarm::Change;
use crate::config::{AlarmConfig, EmailConfig, EmailTls};
use crate::time::now;

pub(super) async fn send(settings: &AlarmConfig, change: &Change) -> Result<(), String> {
    let Some(email) = &settings.email else { return Ok(()) };
    let message = message(email, change)?;
    let sent = transport(email)?.send(message).await;
    sent.map(|_accepted| ()).map_err(|error| with_sources(&error))
}

fn message(email: &EmailConfig, change: &Change) -> Result<Message, String> {
    let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("{text}: {error}"));
    let from = mailbox(&email.from)?;
    let mut message = Message::builder()
        .message_id(Some(message_id(from.email.domain())))
        .subject(format!("[xmpp-archiver] {}", text::headline(change)))
        .header(ContentType::TEXT_PLAIN)
        .from(from);
    for to in &email.to {
        message = message.to(mailbox(to)?);
    }
    message.body(text::body(change)).map_err(|error| error.to_string())
}

/// Unique for ever: the process, the moment and a count (RFC 5322 section 3.6.4).
fn message_id(domain: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("<alarm.{}.{}.{}@{domain}>", now(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The way to a mail server.
pub(crate) fn transport(email: &EmailConfig) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = match email.tls {
        EmailTls::None => Tls::None,
        EmailTls::Starttls => Tls::Required(parameters(email)?),
        EmailTls::Tls => Tls::Wrapper(parameters(email)?),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&email.server).port(email.port).tls(tls);
    if let (Some(user), Some(password)) = (&email.user, &email.password) {
        let password = password.read().map_err(|error| format!("password {error}"))?;
        transport = transport.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
    }
    Ok(transport.build())
}

fn parameters(email: &EmailConfig) -> Result<TlsParameters, String> {
    let mut parameters = TlsParameters::builder(email.server.clone());
    if let Some(file) = &email.tls_ca {
        let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let wrong = |error: lettre::transport::smtp::Error| format!("{}: {}", file.display(), with_sources(&error));
        let authority = Certificate::from_pem(&pem).map_err(wrong)?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    parameters.build_rustls().map_err(|error| with_sources(&error))
}

/// lettre's own words are short; the reason stands in the sources. None of them holds the password.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_said = inner.to_string();
        if !said.contains(&inner_said) {
            said = format!("{said}: {inner_said}");
        }
        source = inner.source();
    }
    said
}
