//! The play: a week at Lindqvist Joinery, who build kitchens.
//!
//! Anna owns the firm, Ben runs the workshop, Chloe the office, Dilip fits what the others built; Nadia joins them, and a timber
//! merchant writes from another server. Each function is one scene, and each shows some of what an archive has to get right.

use super::Kind;
use super::draft::Draft;
use super::stage::{Said, Stage};

const WORKSHOP: &str = "workshop";
const QUOTE: &str = "quote-harbour-street";
const MERCHANT: &str = "sales@nordtimber.example/web";

const COMPOSING: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";

/// The whole week, Monday to Friday.
pub(super) fn perform(stage: &mut Stage) {
    monday_arrivals(stage);
    monday_measurements(stage);
    monday_timber(stage);
    tuesday_room_opens(stage);
    let plan = tuesday_planning(stage);
    tuesday_absent_ben(stage);
    wednesday_second_thoughts(stage, &plan);
    wednesday_payslip(stage);
    wednesday_private_words(stage);
    thursday_invitations(stage);
    thursday_newcomer(stage);
    thursday_two_yeses(stage);
    friday_languages(stage);
    friday_wrong_address(stage);
    friday_last_words(stage);
}

fn correction(of: &Said, body: &str) -> Draft {
    let replace = format!("<replace xmlns='urn:xmpp:message-correct:0' id='{}'/>", of.id);
    Draft::text(body).with(&replace).kind(Kind::Correction)
}

/// A retraction with the sentence for clients that don't know it (XEP-0424 section 3).
fn retraction(of: &str) -> Draft {
    let retract = format!(
        "<retract xmlns='urn:xmpp:message-retract:1' id='{of}'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:message-retract:1'/>"
    );
    let fallback = "/me retracted a previous message, but it is unsupported by your client.";
    Draft::text(fallback).with(&retract).with(STORE).kind(Kind::Retraction)
}

fn reaction(of: &str, emoji: &[&str]) -> Draft {
    let each: String = emoji.iter().map(|one| format!("<reaction>{one}</reaction>")).collect();
    let reactions = format!("<reactions xmlns='urn:xmpp:reactions:0' id='{of}'>{each}</reactions>{STORE}");
    Draft::element(Kind::Reaction, reactions)
}

/// A reply that quotes for clients that don't know replies (XEP-0461 section 3).
fn reply(to: &str, id: &str, quoted: &str, body: &str) -> Draft {
    let quote = format!("> {quoted}\n");
    let end = quote.chars().count();
    let elements = format!(
        "<reply xmlns='urn:xmpp:reply:0' to='{to}' id='{id}'/>\
         <fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='{end}'/></fallback>"
    );
    Draft::text(&format!("{quote}{body}")).with(&elements).kind(Kind::Reply)
}

/// A file's address, once for the eye and once for the client (XEP-0066 section 3).
fn file(url: &str) -> Draft {
    Draft::text(url).with(&format!("<x xmlns='jabber:x:oob'><url>{url}</url></x>")).kind(Kind::File)
}

fn receipt(of: &Said) -> Draft {
    Draft::noise(&format!("<received xmlns='urn:xmpp:receipts' id='{}'/>", of.id))
}

fn monday_arrivals(stage: &mut Stage) {
    stage.arrives("anna/desk", true);
    stage.arrives("chloe/office", true);
    stage.arrives("anna/phone", true);
    stage.arrives("ben/bench", true);
    stage.arrives("ben/phone", true);
    stage.arrives("dilip/van", false);
    stage.says("anna/desk", "chloe", "Good morning! Did the Harbour Street people sign?");
    stage.sends("chloe/office", "anna", &Draft::noise(COMPOSING));
    stage.says("chloe/office", "anna", "They did, on Saturday. Deposit arrived as well, 4,200.00.");
    let news = stage.says("anna/phone", "ben", "Harbour Street is on. Oak fronts, as drawn.");
    stage.sends("ben/bench", "anna/phone", &receipt(&news));
    stage.says("ben/bench", "anna/phone", "Good. I need the measurements before I cut anything.");
    stage.says("anna/phone", "ben/bench", "Dilip is there today.");
}

fn monday_measurements(stage: &mut Stage) {
    stage.arrives("ben/tablet", true);
    stage.says("ben/bench", "dilip", "Could you measure the niche at Harbour Street twice, please? Left and right.");
    stage.says("dilip/van", "ben", "Left 2438 mm, right 2431 mm. The wall leans.");
    stage.says("dilip/van", "ben", "Ceiling is 2602 & the floor drops <5 mm over the whole length");
    stage.says("ben/tablet", "dilip", "Then the plinth gets scribed on site.");
    stage.sends("dilip/van", "ben", &file("https://files.lindqvist.example/5f2c/harbour-street-niche.jpg"));
    stage.sends("ben/tablet", "dilip", &Draft::noise(COMPOSING));
    stage.says("ben/tablet", "dilip", "Perfect picture, thank you.");
    stage.sends("chloe/office", "dilip", &minutes());
    stage.leaves("ben/tablet");
}

fn minutes() -> Draft {
    let body = "1. Harbour Street: fronts in oak, fitting from the 16th.\n2. Mill Lane: hinges replaced under warranty.\n3. New apprentice starts Thursday.";
    Draft::text(body).typed("normal").subject("Minutes of Monday").thread("minutes-10")
}

fn monday_timber(stage: &mut Stage) {
    stage.writes_abroad("chloe/office", "sales@nordtimber.example", "Hello, what is your price for 14 boards of oak, 27 mm, dried?");
    stage.hears_from_abroad(MERCHANT, "chloe", "Good afternoon. 61.40 a board, and a week until delivery.");
    stage.writes_abroad("chloe/office", MERCHANT, "Please send them. Our number is LJ-2207.");
    stage.hears_from_abroad(MERCHANT, "chloe", "Booked. You will get the confirmation by post.");
    stage.hears_from_abroad(MERCHANT, "ben", "Your oak leaves us on Monday, in the morning.");
}

fn tuesday_room_opens(stage: &mut Stage) {
    stage.joins("anna/desk", WORKSHOP, "Anna");
    stage.joins("ben/bench", WORKSHOP, "Ben");
    stage.joins("chloe/office", WORKSHOP, "Chloe");
    stage.joins("dilip/van", WORKSHOP, "Dilip");
    stage.sends_to_room("anna/desk", WORKSHOP, &Draft::element(Kind::Subject, String::new()).subject("Week 10: Harbour Street"));
    stage.says_in("anna/desk", WORKSHOP, "Morning all. What stands in the way of starting on the 16th?");
    stage.says_in("ben/bench", WORKSHOP, "Oak. And the spindle moulder, its belt is worn.");
    stage.says_in("chloe/office", WORKSHOP, "Oak is ordered: 14 boards, a week.");
    stage.says_in("dilip/van", WORKSHOP, "I have a belt in the van, I'll bring it at noon.");
}

/// Returns what the room agreed on, which somebody will take back.
fn tuesday_planning(stage: &mut Stage) -> Said {
    let question = stage.says_in("anna/desk", WORKSHOP, "Who can be at Harbour Street on the 16th?");
    let room = format!("{WORKSHOP}@{}", super::ROOMS);
    let answer = reply(&format!("{room}/Anna"), &question.room_id, "Who can be at Harbour Street on the 16th?", "Ben and I can.");
    stage.sends_to_room("dilip/van", WORKSHOP, &answer);
    let plan = stage.says_in("ben/bench", WORKSHOP, "Carcasses Wendesday, fronts Friday, then two days of fitting.");
    stage.sends_to_room("anna/desk", WORKSHOP, &reaction(&plan.room_id, &["👍"]));
    stage.sends_to_room("ben/bench", WORKSHOP, &correction(&plan, "Carcasses Wednesday, fronts Friday, then two days of fitting."));
    stage.sends_to_room("chloe/office", WORKSHOP, &reaction(&plan.room_id, &["👍", "🪚"]));
    stage.sends_to_room("dilip/van", WORKSHOP, &file("https://files.lindqvist.example/77b0/fitting-plan.pdf"));
    stage.says_in("chloe/office", WORKSHOP, "Filed under Harbour Street.");
    plan
}

/// Ben goes home; what is written to him waits.
fn tuesday_absent_ben(stage: &mut Stage) {
    stage.parts("ben/bench", WORKSHOP);
    stage.leaves("ben/bench");
    stage.leaves("ben/phone");
    stage.says("anna/desk", "ben", "Are you still in? The customer called about the handles.");
    stage.says("anna/desk", "ben", "Never mind, brushed steel it is.");
    stage.says("dilip/van", "ben", "Belt is on your bench. Mind the guard, one screw is loose.");
    stage.says_in("anna/desk", WORKSHOP, "Handles: brushed steel, 192 mm centres.");
    stage.arrives("ben/phone", true);
    stage.arrives("ben/bench", true);
    stage.joins("ben/bench", WORKSHOP, "Ben");
    stage.says_in("ben/bench", WORKSHOP, "Seen. Drilling jig is set to 192.");
}

fn wednesday_second_thoughts(stage: &mut Stage, plan: &Said) {
    let wrong = stage.says("chloe/office", "anna", "The hinges will cost us 380.00");
    stage.sends("chloe/office", "anna", &correction(&wrong, "The hinges will cost us 308.00"));
    stage.sends("chloe/office", "anna", &correction(&wrong, "The hinges will cost us 308.00, delivery included"));
    stage.sends("anna/desk", "chloe", &reaction(&wrong.id, &["🙏", "❤️"]));
    let rash = stage.says("dilip/van", "anna", "Honestly, the Mill Lane people never let me finish a sentence.");
    stage.sends("dilip/van", "anna", &retraction(&rash.id));
    stage.says("dilip/van", "anna", "Mill Lane is done, they signed.");
    stage.sends_to_room("anna/desk", WORKSHOP, &reaction(&plan.room_id, &[]));
    let here = stage.says_in("dilip/van", WORKSHOP, "Parking code at Harbour Street is 4471");
    stage.sends_to_room("dilip/van", WORKSHOP, &retraction(&here.room_id));
    let asked = stage.says("anna/phone", "ben", "Is the moulder running again?");
    stage.sends("ben/phone", "anna/phone", &reply("anna@lindqvist.example/phone", &asked.id, "Is the moulder running again?", "Like new."));
}

/// Content that only the two can read (XEP-0384), with what other clients show instead.
fn wednesday_payslip(stage: &mut Stage) {
    let envelope = "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1294813'><key rid='880172'>MwohBXJhbmRvbSBieXRlcyBvZiBhIGtleQ==</key>\
                    <iv>TGluZHF2aXN0Sm9pbg==</iv></header><payload>b2FrLCBhc2ggYW5kIHdhbG51dA==</payload></encrypted>\
                    <encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl' name='OMEMO'/>";
    let notice = "I sent you an OMEMO encrypted message but your client doesn’t seem to support that.";
    let sealed = Draft::text(notice).with(envelope).with(STORE).unreadable();
    stage.sends("chloe/office", "dilip", &sealed);
    stage.sends("dilip/van", "chloe", &sealed);
    stage.says("dilip/van", "chloe", "Payslip arrived, thanks.");
    stage.sends("chloe/office", "dilip/van", &Draft::text("Keep it to yourself, raises are announced on Friday.").private());
}

/// Words in a corner of the room: the archive sees each side under other addresses.
fn wednesday_private_words(stage: &mut Stage) {
    stage.whispers("chloe/office", WORKSHOP, "Anna", "Shall I put the new apprentice on the insurance today?");
    stage.whispers("anna/desk", WORKSHOP, "Chloe", "Yes please, from Thursday.");
    stage.says_in("chloe/office", WORKSHOP, "By the way: cake at three.");
    stage.sends_to_room("ben/bench", WORKSHOP, &Draft::text("/me puts the saw down"));
}

/// Rooms that are made for one matter, and two ways into them.
fn thursday_invitations(stage: &mut Stage) {
    stage.arrives("nadia/laptop", true);
    stage.joins("anna/desk", QUOTE, "Anna");
    stage.sends_to_room("anna/desk", QUOTE, &Draft::text("A room for the Harbour Street extras, so that we don't mix them with the rest."));
    let direct =
        format!("<x xmlns='jabber:x:conference' jid='{QUOTE}@{}' password='plane-iron' reason='Extras for Harbour Street'/>", super::ROOMS);
    stage.sends("anna/desk", "chloe", &Draft::element(Kind::Invitation, direct).typed("normal"));
    stage.joins("chloe/office", QUOTE, "Chloe");
    stage.invites("anna/desk", QUOTE, "ben", "We need your hours", "plane-iron");
    stage.joins("ben/phone", QUOTE, "Ben");
    stage.invites("anna/desk", QUOTE, "dilip", "Only if you have time", "plane-iron");
    stage.declines("dilip/van", QUOTE, "anna", "On the road until four");
    stage.says_in("ben/phone", QUOTE, "Eleven hours for the larder, six for the bench seat.");
    stage.says_in("chloe/office", QUOTE, "That makes 1,105.00 with material.");
    stage.says_in("anna/desk", QUOTE, "Send it.");
    stage.parts("ben/phone", QUOTE);
    stage.parts("chloe/office", QUOTE);
    stage.parts("anna/desk", QUOTE);
}

/// Whoever joins late reads what was said before.
fn thursday_newcomer(stage: &mut Stage) {
    stage.joins("nadia/laptop", WORKSHOP, "Nadia");
    stage.says_in("nadia/laptop", WORKSHOP, "Hello! I'm Nadia, the new apprentice.");
    stage.says_in("ben/bench", WORKSHOP, "Welcome. Safety glasses are on the hook by the door.");
    stage.says_in("dilip/van", WORKSHOP, "Welcome Nadia! 🎉");
    stage.says("nadia/laptop", "ben", "Which boards shall I bring in first?");
    stage.says("ben/bench", "nadia/laptop", "The ones marked LJ-2207, heart side up.");
}

/// The same word twice is two messages: nobody may make one of them.
fn thursday_two_yeses(stage: &mut Stage) {
    stage.says("ben/bench", "nadia", "Lunch at twelve?");
    stage.says("nadia/laptop", "ben", "ok");
    stage.says("ben/bench", "nadia", "And sweep the bandsaw afterwards, please.");
    stage.says("nadia/laptop", "ben", "ok");
}

fn friday_languages(stage: &mut Stage) {
    stage.says("anna/desk", "dilip", "Fika at ten: kanelbullar från Åsa 🥐☕");
    stage.says("nadia/laptop", "chloe", "شكراً على البطاقة، وصلت اليوم.");
    stage.says("chloe/office", "nadia", "בשמחה! See you at the raffle 🎟️");
    stage.says("dilip/van", "anna", "धन्यवाद 🙏🏽 — 5″ screws or 6″?");
    stage.says("anna/desk", "dilip", "6″. And the 👨‍👩‍👧 at number 12 want a quote: ½ wall, ≤ 2 m.");
    stage.sends_to_room("chloe/office", WORKSHOP, &Draft::element(Kind::Subject, String::new()).subject("Week 11: fitting"));
    stage.says_in("chloe/office", WORKSHOP, "Harbour Street starts Monday at 07:30 ⏰");
}

fn friday_wrong_address(stage: &mut Stage) {
    stage.bounces("chloe/office", "bne", "Your order of screws is in.");
    stage.says("chloe/office", "ben", "Your order of screws is in.");
}

/// Everybody goes home, and one message still waits for somebody.
fn friday_last_words(stage: &mut Stage) {
    stage.says_in("anna/desk", WORKSHOP, "Good week. Raises are in the envelopes, see you on Monday.");
    stage.sends_to_room("ben/bench", WORKSHOP, &Draft::text("Thank you, Anna."));
    for session in ["dilip/van", "nadia/laptop", "ben/bench", "chloe/office"] {
        stage.parts(session, WORKSHOP);
        stage.leaves(session);
    }
    stage.leaves("ben/phone");
    stage.says("anna/phone", "ben", "You left your jacket, I put it in the office.");
    stage.parts("anna/desk", WORKSHOP);
}
