//! Asks an Openfire node to mirror: it does so only for a component that runs an ad-hoc command on each connect.
//!
//! What Openfire does, as its source says (`PacketsNotification`, `PacketCopier`, `AdHocCommandManager`,
//! `MessageRouter`, `LocalSession`, `RoutingTableImpl` of the 4.x and 5.x lines):
//!
//! - The command `http://jabber.org/protocol/admin#packets_notification` is addressed to the server's own domain, as an
//!   iq set, and is permitted to a connected component only, whose address must be a bare domain: from `domain/resource`
//!   it is refused. The first answer has `status="executing"`, a `sessionid` and a form; the second request, with
//!   `action="complete"`, submits `packet_type` (a list: `message`, `presence`, `iq`), `direction` (`incoming` or
//!   `outgoing`, one of them) and `processed` (`true` or `false`, one of them). The answer to that has
//!   `status="completed"` and a note.
//! - **A component has one subscription**: it is kept under the component's address, so a second run of the command
//!   replaces the first. Both directions, or both values of `processed`, can't be had by one component. The subscription
//!   is gone with the connection.
//! - **`outgoing` must never be asked for**: delivering a copy to the component is itself an outgoing packet, which is
//!   copied in turn, without end and each time wrapped once more. `incoming` copies do not pass that way.
//! - `incoming` means handed to the server's router by anybody: a local user, another server, a component, and also
//!   Openfire's own rooms, whose broadcasts are routed like users' messages. So one message between two local users
//!   passes these four points, in this order: incoming unprocessed; then, for each session that it is delivered to,
//!   outgoing unprocessed and outgoing processed; then incoming processed. A subscriber sees the one point that it
//!   subscribed to: with `incoming` it is **exactly one copy a message**, whatever the number of resources, online or not.
//!   Carbons and offline messages delivered later are outgoing only, and are not seen. A message into a room gives one
//!   copy into the room (from the real address) and one for each occupant (from room/nick).
//! - `incoming` with `processed="false"` is taken before any interceptor could refuse the message; with `true` after it was
//!   routed, so a refused message gives no copy, and neither does one to the server's bare domain. We ask for `true`: what
//!   reached its routing. It also carries the `stanza-id` that routing adds.
//! - The copies are `<message from="server domain" to="component"><copy xmlns="http://jabber.org/protocol/packet#event"
//!   incoming="true" processed="true" date="…">STANZA</copy></message>`. `date` is when the packet passed; the copies
//!   themselves leave in batches, up to 5 s later, and the stanza is copied only then: changes made to it meanwhile show.
//!   One that shows is `to` of a room broadcast, when the room re-uses one packet for all occupants.
//! - The queue between holds 10,000 packets; beyond that routing itself fails with an error, and the message is not archived.
//! - While the component is away there is no subscription and no copy: nothing is queued for it.

use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;
use tokio::time::Instant;
use xmpp_parsers::data_forms::{DataForm, DataFormType, Field, FieldType};
use xmpp_parsers::minidom::Element;

use super::handshake::{attribute, unescaped};
use super::iq::{Iq, Kind, attribute_text, envelope};
use crate::time;

/// XEP-0050.
const NAMESPACE: &str = "http://jabber.org/protocol/commands";
const COMMAND: &str = "http://jabber.org/protocol/admin#packets_notification";
const FORM_TYPE: &str = "http://jabber.org/protocol/admin";

/// How long the node may take for an answer, and how long after a refusal it is asked again.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Longer answers are not looked at: a form of four fields is a few kilobytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What came of a stanza or of the time passing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing that concerns the subscription.
    Nothing,
    /// Send this.
    Send(Vec<u8>),
    /// The node mirrors now.
    Subscribed,
    /// It doesn't, for this reason; it will be asked again.
    Refused(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To be asked at the deadline.
    Waiting,
    /// The form was asked for.
    Asked,
    /// The form was sent.
    Submitted,
    Subscribed,
}

/// The subscription of one session.
#[derive(Debug)]
pub(super) struct Subscription {
    domain: String,
    server: String,
    step: Step,
    id: String,
    deadline: Instant,
}

impl Subscription {
    /// One that is to be asked for at once.
    pub(super) fn new(domain: &str, server: &str) -> Self {
        let (domain, server) = (domain.to_owned(), server.to_owned());
        Self { domain, server, step: Step::Waiting, id: String::new(), deadline: Instant::now() }
    }

    /// When [`Self::overdue`] wants to be called; none when all is done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.step != Step::Subscribed).then_some(self.deadline)
    }

    /// The deadline has passed: ask, or give up waiting for an answer.
    pub(super) fn overdue(&mut self) -> Outcome {
        if Instant::now() < self.deadline {
            return Outcome::Nothing;
        }
        match self.step {
            Step::Waiting => {
                let execute = format!("<command xmlns='{NAMESPACE}' node='{COMMAND}' action='execute'/>");
                Outcome::Send(self.request(Step::Asked, &execute))
            }
            Step::Asked | Step::Submitted => self.refused("it did not answer".to_owned()),
            Step::Subscribed => Outcome::Nothing,
        }
    }

    /// Looks whether an iq result or error is the answer we wait for.
    pub(super) fn answer(&mut self, iq: &Iq, stanza: &[u8]) -> Outcome {
        let awaited = matches!(self.step, Step::Asked | Step::Submitted);
        let from_server = iq.from.as_deref().is_some_and(|from| from.eq_ignore_ascii_case(&self.server));
        if !awaited || iq.id != self.id || !from_server || stanza.len() > MAX_ANSWER_BYTES {
            return Outcome::Nothing;
        }
        let told = Told::read(stanza);
        if iq.kind == Kind::Error {
            return self.refused(told.condition.unwrap_or_else(|| "an error without a condition".to_owned()));
        }
        match (self.step, told.status.as_deref(), told.session_id) {
            (_, Some("completed"), _) => {
                self.step = Step::Subscribed;
                Outcome::Subscribed
            }
            (Step::Asked, Some("executing"), Some(session_id)) => Outcome::Send(self.request(Step::Submitted, &submission(&session_id))),
            (_, status, _) => self.refused(format!("an answer of status {}", status.unwrap_or("unknown"))),
        }
    }

    fn request(&mut self, step: Step, command: &str) -> Vec<u8> {
        self.step = step;
        self.id = format!("packets-{}", time::now());
        self.deadline = Instant::now() + ANSWER_TIME;
        envelope("set", &self.id, &self.domain, Some(&self.server), command).into_bytes()
    }

    fn refused(&mut self, reason: String) -> Outcome {
        self.step = Step::Waiting;
        self.deadline = Instant::now() + ANSWER_TIME;
        Outcome::Refused(reason)
    }
}

/// The completed form: messages, on their way in, once they were routed.
fn submission(session_id: &str) -> String {
    let fields = vec![
        Field::new("packet_type", FieldType::ListMulti).with_value("message"),
        Field::new("direction", FieldType::ListSingle).with_value("incoming"),
        Field::new("processed", FieldType::ListSingle).with_value("true"),
    ];
    let form = String::from(&Element::from(DataForm::new(DataFormType::Submit, FORM_TYPE, fields)));
    let session_id = attribute_text(session_id);
    format!("<command xmlns='{NAMESPACE}' node='{COMMAND}' sessionid='{session_id}' action='complete'>{form}</command>")
}

/// What an answer to a command says (XEP-0050 section 3), as far as we need it.
#[derive(Debug, Default)]
struct Told {
    status: Option<String>,
    session_id: Option<String>,
    condition: Option<String>,
}

impl Told {
    fn read(stanza: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stanza);
        let mut reader = Reader::from_str(&text);
        let (mut told, mut in_error) = (Self::default(), false);
        while let Ok(event) = reader.read_event() {
            let (Event::Start(start) | Event::Empty(start)) = event else {
                if matches!(event, Event::Eof) {
                    break;
                }
                continue;
            };
            match start.local_name().as_ref() {
                "command" => {
                    told.status = attribute(&start, "status");
                    told.session_id = attribute(&start, "sessionid");
                }
                "error" => in_error = true,
                condition if in_error && told.condition.is_none() => told.condition = Some(unescaped(condition)),
                _ => {}
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::super::iq::{Sorted, sort};
    use super::*;

    fn answer(subscription: &mut Subscription, stanza: &str) -> Outcome {
        let Sorted::Iq(iq) = sort(stanza.as_bytes()) else { panic!("{stanza} is no iq") };
        subscription.answer(&iq, stanza.as_bytes())
    }

    fn sent(outcome: Outcome) -> String {
        let Outcome::Send(bytes) = outcome else { panic!("{outcome:?}") };
        String::from_utf8(bytes).unwrap()
    }

    fn asked() -> Subscription {
        let mut subscription = Subscription::new("archive.example", "example");
        let request = sent(subscription.overdue());
        assert!(request.contains("type='set'") && request.contains("to='example'"), "{request}");
        assert!(request.contains(&format!("node='{COMMAND}'")), "{request}");
        subscription
    }

    fn executing(id: &str, from: &str) -> String {
        format!(
            "<iq type='result' id='{id}' from='{from}' to='archive.example'><command xmlns='{NAMESPACE}' \
             sessionid='s&amp;1' node='{COMMAND}' status='executing'><x xmlns='jabber:x:data' type='form'/>\
             <actions execute='complete'><complete/></actions></command></iq>"
        )
    }

    #[test]
    fn the_form_is_filled_in_for_routed_incoming_messages() {
        let mut subscription = asked();
        let form = executing(&subscription.id, "example");
        let request = sent(answer(&mut subscription, &form));
        assert!(request.contains("sessionid='s&amp;1'") && request.contains("action='complete'"), "{request}");
        let request = request.replacen("<iq ", "<iq xmlns='jabber:component:accept' ", 1);
        let request: Element = request.parse().unwrap();
        let form = request.get_child("command", NAMESPACE).unwrap().get_child("x", "jabber:x:data").unwrap();
        let form = DataForm::try_from(form.clone()).unwrap();
        let values: Vec<_> = form.fields.iter().map(|one| (one.var.as_deref().unwrap(), one.values.concat())).collect();
        for (field, value) in [("packet_type", "message"), ("direction", "incoming"), ("processed", "true")] {
            assert!(values.contains(&(field, value.to_owned())), "{values:?}");
        }
        let done = form_done(&subscription.id);
        assert_eq!(answer(&mut subscription, &done), Outcome::Subscribed);
        assert_eq!(subscription.deadline(), None);
    }

    fn form_done(id: &str) -> String {
        format!(
            "<iq type='result' id='{id}' from='example'><command xmlns='{NAMESPACE}' status='completed'>\
             <note type='info'>Operation finished successfully</note></command></iq>"
        )
    }

    #[test]
    fn answers_of_others_are_no_answers() {
        let mut subscription = asked();
        let id = subscription.id.clone();
        for stanza in [executing("other", "example"), executing(&id, "eve@example"), executing(&id, "example.org")] {
            assert_eq!(answer(&mut subscription, &stanza), Outcome::Nothing);
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_condition_and_tried_again() {
        let mut subscription = asked();
        let stanza = format!(
            "<iq type='error' id='{}' from='example'><command xmlns='{NAMESPACE}'/><error type='auth' code='403'>\
             <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            subscription.id
        );
        assert_eq!(answer(&mut subscription, &stanza), Outcome::Refused("forbidden".to_owned()));
        assert!(subscription.deadline().is_some());
        subscription.deadline = Instant::now();
        sent(subscription.overdue());
        subscription.deadline = Instant::now();
        assert_eq!(subscription.overdue(), Outcome::Refused("it did not answer".to_owned()));
    }
}
