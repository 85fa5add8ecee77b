//! The bytes of everything that is signed, sent or written down, as they were when they were first committed: what an
//! old program has written, each new one reads as the same thing and writes alike.
//!
//! A change of these files is a change of the protocol. New ones are written by
//! `GOLDEN=write cargo test -p sublet-model --test golden bytes`.

#![allow(clippy::disallowed_methods, reason = "the vectors are files: the crate has no disk, its tests do")]

extern crate sublet_model as model;

mod examples;

use examples::NOW;
use model::message::{Request, Response, StreamHead};
use model::record::{Account, Entry, Record};
use model::{
    Audience, Currency, Document, EndReason, FreezeReason, Mode, OwnerReason, Phase, Regard, RenewalTerms,
    Side, Signed, Span, Unverified,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

/// The committed bytes, by folder and name.
type Vectors = BTreeMap<String, Vec<u8>>;

#[test]
fn bytes_are_what_they_were() {
    let made = made();
    if std::env::var_os("GOLDEN").is_some_and(|wish| wish == "write") {
        write(&made);
    }
    let committed = committed();
    for (name, bytes) in &made {
        let Some(committed) = committed.get(name) else {
            panic!("{name} is not committed: GOLDEN=write writes it")
        };
        assert_eq!(hex::encode(bytes), hex::encode(committed), "{name} has other bytes than it had");
    }
    let gone: Vec<_> = committed.keys().filter(|name| !made.contains_key(*name)).collect();
    assert!(gone.is_empty(), "nothing makes these any more: {gone:?}");
}

#[test]
fn old_documents_mean_the_same() {
    let old = committed();
    document(&old, "device", &examples::host().certificate());
    document(&old, "profile", &examples::profile());
    document(&old, "offer", &examples::offer(7));
    document(&old, "offer-of-devices", &examples::offer_of_devices());
    document(&old, "ask-for-devices", &examples::ask_for_devices());
    document(&old, "offer-of-secrets", &examples::offer_of_secrets());
    document(&old, "ask-for-secrets", &examples::ask_for_secrets());
    document(&old, "ask", &examples::ask());
    document(&old, "quote", &examples::quote());
    document(&old, "lease", examples::lease().first_signed());
    document(&old, "lease-by-host", examples::lease().second_signed());
    document(&old, "tick", &examples::tick(1));
    document(&old, "tick-by-tenant", examples::receipt(1).second_signed());
    document(&old, "renewal", examples::renewal().first_signed());
    document(&old, "end", &examples::end());
    document(&old, "end-of-stopped", &examples::end_of_stopped());
    document(&old, "rating", &examples::rating());
    document(&old, "invite", &examples::invite());
    document(&old, "greeting", &examples::greeting());
    document(&old, "settlement", examples::settlement().first_signed());
    document(&old, "release", &examples::release());
    let tested = 21;
    assert_eq!(old.keys().filter(|name| name.starts_with("document/")).count(), tested);
}

fn document<T: Document + PartialEq + Debug>(old: &Vectors, name: &str, example: &Signed<T>) {
    let bytes = &old[&format!("document/{name}")];
    let read = Unverified::<T>::read(bytes).and_then(|unverified| unverified.verify(NOW)).expect(name);
    assert_eq!((&*read, read.id(), read.signer()), (&**example, example.id(), example.signer()), "{name}");
}

#[test]
fn old_messages_and_records_mean_the_same() {
    let old = committed();
    values(&old, "request", &examples::requests());
    values(&old, "response", &examples::responses());
    values(&old, "head", &examples::heads());
    values(&old, "entry", &entries());
}

fn values<T: Serialize + for<'a> Deserialize<'a> + PartialEq + Debug>(
    old: &Vectors,
    folder: &str,
    examples: &[T],
) {
    for (name, example) in named(folder, examples) {
        assert_eq!(model::from_bytes::<T>(&old[&name]).as_ref(), Ok(example), "{name}");
    }
}

#[test]
fn old_words_mean_the_same() {
    let old = committed();
    word(&old, "phase", &phases());
    word(&old, "freeze_reason", &freeze_reasons());
    word(&old, "owner_reason", &owner_reasons());
    word(&old, "end_reason", &end_reasons());
    word(&old, "renewal_terms", &renewal_terms());
    word(&old, "mode", &MODES);
    word(&old, "audience", &AUDIENCES);
    word(&old, "regard", &REGARDS);
    word(&old, "side", &SIDES);
    word(&old, "account", &accounts());
    word(&old, "currency", &CURRENCIES);
}

fn word<T: Serialize + for<'a> Deserialize<'a> + PartialEq + Debug>(old: &Vectors, name: &str, words: &[T]) {
    assert_eq!(model::from_bytes::<Vec<T>>(&old[&format!("word/{name}")]).as_deref(), Ok(words), "{name}");
}

#[test]
fn each_kind_has_its_vector() {
    complete::<Request>(&examples::requests());
    complete::<Response>(&examples::responses());
    complete::<StreamHead>(&examples::heads());
    complete::<Record>(&examples::life());
    complete::<Phase>(&phases());
    complete::<FreezeReason>(&freeze_reasons());
    complete::<OwnerReason>(&owner_reasons());
    complete::<EndReason>(&end_reasons());
    complete::<RenewalTerms>(&renewal_terms());
    complete::<Mode>(&MODES);
    complete::<Audience>(&AUDIENCES);
    complete::<Regard>(&REGARDS);
    complete::<Side>(&SIDES);
    complete::<Account>(&accounts());
}

/// An enum's names, as it lists them itself when it is given one that it does not know.
fn complete<T: Serialize + for<'a> Deserialize<'a>>(examples: &[T]) {
    let error = serde_json::from_str::<T>("\"?\"").err().expect("? is no name").to_string();
    let names: BTreeSet<_> = error.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 1, "{error}");
    assert_eq!(examples.iter().map(tag).collect::<BTreeSet<_>>(), names);
}

const MODES: [Mode; 3] = [Mode::Gift, Mode::Barter, Mode::Rent];
const AUDIENCES: [Audience; 2] = [Audience::Everyone, Audience::Known];
const REGARDS: [Regard; 2] = [Regard::Known, Regard::Blocked];
const SIDES: [Side; 2] = [Side::Host, Side::Tenant];
const CURRENCIES: [Currency; 2] = [Currency::Credit, Currency::Iso(*b"EUR")];

fn phases() -> [Phase; 8] {
    let over = EndReason::TermOver;
    [
        Phase::Agreed,
        Phase::Fetching,
        Phase::Starting,
        Phase::Running,
        Phase::Throttled { reason: OwnerReason::Busy { percent: 80 }, percent: 25 },
        Phase::Frozen(FreezeReason::Unsigned),
        Phase::Closing(over),
        Phase::Ended(over),
    ]
}

fn freeze_reasons() -> [FreezeReason; 3] {
    [FreezeReason::Owner(OwnerReason::OnBattery), FreezeReason::Unsigned, FreezeReason::CreditUsedUp]
}

fn owner_reasons() -> [OwnerReason; 11] {
    [
        OwnerReason::Never,
        OwnerReason::Paused { until: Some(NOW) },
        OwnerReason::OutsideSchedule { until: None },
        OwnerReason::OnBattery,
        OwnerReason::LowCharge { percent: 20 },
        OwnerReason::Hot { celsius: 95 },
        OwnerReason::Metered,
        OwnerReason::FullScreen,
        OwnerReason::Program,
        OwnerReason::InUse,
        OwnerReason::Busy { percent: 80 },
    ]
}

fn end_reasons() -> [EndReason; 12] {
    [
        EndReason::Exited { code: -1 },
        EndReason::TermOver,
        EndReason::TenantStopped,
        EndReason::OwnerStopped,
        EndReason::Unsigned,
        EndReason::CreditUsedUp,
        EndReason::FetchFailed,
        EndReason::StartFailed,
        EndReason::BadWorkload,
        EndReason::GuestLost,
        EndReason::HostGone,
        EndReason::NotAgreed,
    ]
}

fn renewal_terms() -> [RenewalTerms; 3] {
    [RenewalTerms::Never, RenewalTerms::Ask, RenewalTerms::Automatic { longest: Span::hours(24) }]
}

fn accounts() -> [Account; 4] {
    [Account::Person(examples::host().party().person), Account::Income, Account::Expense, Account::Settled]
}

/// Each record at the same place, so that one more changes none of the others.
fn entries() -> Vec<Entry> {
    examples::life().into_iter().map(|record| Entry { seq: 42, at: NOW, record }).collect()
}

/// What this program makes of the examples.
fn made() -> Vectors {
    let documents =
        examples::documents().into_iter().map(|(name, bytes)| (format!("document/{name}"), bytes));
    let mut made: Vectors = documents.collect();
    made.extend(encoded("request", &examples::requests()));
    made.extend(encoded("response", &examples::responses()));
    made.extend(encoded("head", &examples::heads()));
    made.extend(encoded("entry", &entries()));
    made.extend([
        ("word/phase".into(), model::to_bytes(&phases())),
        ("word/freeze_reason".into(), model::to_bytes(&freeze_reasons())),
        ("word/owner_reason".into(), model::to_bytes(&owner_reasons())),
        ("word/end_reason".into(), model::to_bytes(&end_reasons())),
        ("word/renewal_terms".into(), model::to_bytes(&renewal_terms())),
        ("word/mode".into(), model::to_bytes(&MODES)),
        ("word/audience".into(), model::to_bytes(&AUDIENCES)),
        ("word/regard".into(), model::to_bytes(&REGARDS)),
        ("word/side".into(), model::to_bytes(&SIDES)),
        ("word/account".into(), model::to_bytes(&accounts())),
        ("word/currency".into(), model::to_bytes(&CURRENCIES)),
    ]);
    made
}

fn encoded<T: Serialize>(folder: &str, examples: &[T]) -> Vec<(String, Vec<u8>)> {
    named(folder, examples).into_iter().map(|(name, example)| (name, model::to_bytes(example))).collect()
}

/// Each example with the name of its kind, and a number where there are several of a kind.
fn named<'a, T: Serialize>(folder: &str, examples: &'a [T]) -> Vec<(String, &'a T)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let name = |example| {
        let tag = tag(example);
        let count = seen.entry(tag.clone()).or_default();
        *count += 1;
        let number = if *count == 1 { String::new() } else { format!("-{count}") };
        (format!("{folder}/{tag}{number}"), example)
    };
    examples.iter().map(name).collect()
}

/// The name of an enum's variant as it is written; of an entry, that of its record.
fn tag<T: Serialize>(value: &T) -> String {
    let mut value = serde_json::to_value(value).expect("examples are plain data");
    if let Some(record) = value.get_mut("record") {
        value = record.take();
    }
    match value.as_object().and_then(|tagged| tagged.keys().next()) {
        Some(tag) => tag.clone(),
        None => value.as_str().expect("a variant without contents is its name").to_owned(),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn committed() -> Vectors {
    let mut vectors = Vectors::new();
    for kind in fs::read_dir(folder()).expect("golden vectors").map(|entry| entry.expect("a folder").path()) {
        for file in fs::read_dir(&kind).expect("a folder").map(|entry| entry.expect("a file").path()) {
            let name = file.strip_prefix(folder()).expect("it is inside").with_extension("");
            let text: String = fs::read_to_string(&file).expect("text").split_whitespace().collect();
            let bytes = hex::decode(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            vectors.insert(name.to_str().expect("plain names").replace('\\', "/"), bytes);
        }
    }
    vectors
}

fn write(made: &Vectors) {
    fs::remove_dir_all(folder()).expect("the old ones go");
    for (name, bytes) in made {
        let file = folder().join(name).with_extension("hex");
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        let lines: Vec<_> = bytes.chunks(48).map(hex::encode).collect();
        fs::write(file, lines.join("\n") + "\n").expect("a file");
    }
}
