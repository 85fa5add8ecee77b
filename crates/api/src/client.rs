//! A typed client: the same shapes from the other side, over the Unix socket or TCP.

mod files;
mod session;

pub use session::{ProgramInput, ProgramOutput, ProgramSaid};

use crate::export::Form;
use crate::pack::Pack;
use crate::problem::Problem;
use crate::shapes::{
    BenchmarkProgress, Benchmarks, BucketLength, Build, Dashboard, Demands, Diagnostics, Dial, Doctor,
    Earnings, Electricity, ElectricityWish, Event, Found, Identity, Image, ImageProgress, Images, Import,
    Inspection, Inventory, Invite, InviteWish, Invites, Isolation, Join, Lease, Leases, Ledger, Link,
    Listings, Marks, Measured, Met, Moment, More, MyOffer, NewPassphrase, Owner, OwnerPolicy, Passphrase,
    Pause, Payment, PaymentAnswer, PaymentWish, Payments, Peers, People, Person, Port, Ports, Postings,
    Probe, Pull, Query, RecordChecked, Regarding, RentWish, Reputation, Restored, Score, Settings,
    SettingsWish, ShareWish, Status, Words,
};
use crate::shapes::{
    CollectWish, Collected, GuestProcesses, ImageRulesWish, ImageStore, LogsWish, Openness, SnapshotWish,
    Statement, Stats, StatsSample, VolumeCopied, VolumeExport, VolumeImport, VolumeSeen, Volumes,
};
use crate::shapes::{RenewalAnswer, Update, UpdateProgress, UpdateWish, Updates, WhatIf};
use crate::socket;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest answer that is read whole, in bytes.
const LARGEST_ANSWER: usize = 256 << 20;

/// The largest event of a stream, in bytes.
const LARGEST_EVENT: usize = 4 << 20;

/// How long an answer may take to begin: longer than the node itself allows any.
const ANSWER_TIME: Duration = Duration::from_secs(180);

/// A client of a running node.
#[derive(Clone, Debug)]
pub struct Client {
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// In this data directory.
    Socket(PathBuf),
    Port {
        address: SocketAddr,
        token: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no node runs in {}", .0.display())]
    NoNode(PathBuf),
    /// The node said why not.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The connection broke, or never came about.
    #[error("the node cannot be asked: {0}")]
    Io(#[from] std::io::Error),
    /// The connection broke while something was said.
    #[error("the connection to the node broke: {0}")]
    Http(#[from] hyper::Error),
    /// The node took too long.
    #[error("the node did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The answer is none that this program knows.
    #[error("the node's answer makes no sense to this program ({0}): are both of one version?")]
    Answer(String),
}

impl Client {
    /// A client of the node that runs in this data directory.
    pub fn of(data: &Path) -> Client {
        Client { way: Way::Socket(data.to_owned()) }
    }

    /// A client of the node at this address, by its token.
    pub fn at(address: SocketAddr, token: String) -> Client {
        Client { way: Way::Port { address, token } }
    }

    /// Who the node is, and how it goes.
    ///
    /// # Errors
    /// When there is no node, or it says why not. So for all others.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// What works on the node's machine.
    pub async fn doctor(&self) -> Result<Doctor, ClientError> {
        self.get("/v1/doctor").await
    }

    /// How the node goes, in one file.
    pub async fn diagnostics(&self) -> Result<Diagnostics, ClientError> {
        self.get("/v1/diagnostics").await
    }

    /// What the node's machine has.
    pub async fn inventory(&self) -> Result<Inventory, ClientError> {
        self.get("/v1/inventory").await
    }

    /// Checks the node's record.
    pub async fn record(&self) -> Result<RecordChecked, ClientError> {
        self.get("/v1/record").await
    }

    /// Stops the node.
    pub async fn shut_down(&self) -> Result<(), ClientError> {
        self.ask(Method::POST, "/v1/shutdown", &()).await.map(drop)
    }

    /// How fast the node's machine was whenever it was measured.
    pub async fn benchmarks(&self) -> Result<Benchmarks, ClientError> {
        self.get("/v1/benchmark").await
    }

    /// Measures the node's machine. Dropping it cancels.
    pub async fn benchmark(&self) -> Result<Told<BenchmarkProgress, Measured>, ClientError> {
        self.told("/v1/benchmark", &()).await
    }

    /// Runs a hostile guest on the node's machine. Dropping it cancels.
    pub async fn isolation(&self) -> Result<Told<Probe, Isolation>, ClientError> {
        self.told("/v1/selftest/isolation", &()).await
    }

    /// What the node lends.
    pub async fn offer(&self) -> Result<MyOffer, ClientError> {
        self.get("/v1/offer").await
    }

    /// Lends.
    pub async fn set_offer(&self, wish: &ShareWish) -> Result<MyOffer, ClientError> {
        self.sent(Method::PUT, "/v1/offer", wish).await
    }

    /// Lends nothing any more.
    pub async fn unset_offer(&self) -> Result<MyOffer, ClientError> {
        self.sent(Method::DELETE, "/v1/offer", &()).await
    }

    /// What the owner wants, and what holds.
    pub async fn owner(&self) -> Result<Owner, ClientError> {
        self.get("/v1/owner").await
    }

    /// Sets the owner's policy.
    pub async fn set_policy(&self, policy: &OwnerPolicy) -> Result<Owner, ClientError> {
        self.sent(Method::PUT, "/v1/owner/policy", policy).await
    }

    /// Pauses lending.
    pub async fn pause(&self, pause: &Pause) -> Result<Owner, ClientError> {
        self.sent(Method::POST, "/v1/owner/pause", pause).await
    }

    /// Ends a pause.
    pub async fn resume(&self) -> Result<Owner, ClientError> {
        self.sent(Method::DELETE, "/v1/owner/pause", &()).await
    }

    /// Why no work comes.
    pub async fn demands(&self) -> Result<Demands, ClientError> {
        self.get("/v1/demand").await
    }

    /// What would have come at other terms.
    pub async fn what_if(&self, wish: &ShareWish) -> Result<WhatIf, ClientError> {
        self.sent(Method::POST, "/v1/demand/what-if", wish).await
    }

    /// What is known of releases.
    pub async fn updates(&self) -> Result<Updates, ClientError> {
        self.get("/v1/update").await
    }

    /// What a release means for the node's machine.
    pub async fn check_update(&self, wish: &UpdateWish) -> Result<Update, ClientError> {
        self.sent(Method::POST, "/v1/update/check", wish).await
    }

    /// The same, and its packages. Dropping it cancels.
    pub async fn fetch_update(&self, wish: &UpdateWish) -> Result<Told<UpdateProgress, Update>, ClientError> {
        self.told("/v1/update/fetch", wish).await
    }

    /// What lending has earned.
    pub async fn earnings(&self, by: BucketLength) -> Result<Earnings, ClientError> {
        self.get(&format!("/v1/earnings?by={}", bucket(by))).await
    }

    /// What lending has earned since a moment.
    pub async fn earnings_since(&self, by: BucketLength, from: Moment) -> Result<Earnings, ClientError> {
        let path = format!("/v1/earnings?by={}&from={}", bucket(by), escape(&from.to_string()));
        self.get(&path).await
    }

    /// What electricity costs.
    pub async fn electricity(&self) -> Result<Option<Electricity>, ClientError> {
        self.get("/v1/electricity").await
    }

    /// Says what electricity costs.
    pub async fn set_electricity(&self, wish: &ElectricityWish) -> Result<Option<Electricity>, ClientError> {
        self.sent(Method::PUT, "/v1/electricity", wish).await
    }

    /// Forgets what electricity costs.
    pub async fn unset_electricity(&self) -> Result<Option<Electricity>, ClientError> {
        self.sent(Method::DELETE, "/v1/electricity", &()).await
    }

    /// A page of the market.
    pub async fn offers(&self, after: Option<&str>) -> Result<Listings, ClientError> {
        self.get(&format!(
            "/v1/offers{}",
            after.map(|after| format!("?after={}", escape(after))).unwrap_or_default()
        ))
        .await
    }

    /// What suits.
    pub async fn search(&self, query: &Query) -> Result<Found, ClientError> {
        self.sent(Method::POST, "/v1/market/search", query).await
    }

    /// Agrees a lease.
    pub async fn rent(&self, wish: &RentWish) -> Result<Lease, ClientError> {
        self.sent(Method::POST, "/v1/leases", wish).await
    }

    /// A page of leases, ended ones too if they are wanted.
    pub async fn leases(&self, all: bool, after: Option<&str>) -> Result<Leases, ClientError> {
        self.get(&format!(
            "/v1/leases?all={all}{}",
            after.map(|after| format!("&after={}", escape(after))).unwrap_or_default()
        ))
        .await
    }

    /// All leases, page by page, ended ones too if they are wanted.
    pub async fn all_leases(&self, ended: bool) -> Result<Vec<Lease>, ClientError> {
        let (mut leases, mut after) = (Vec::new(), None);
        loop {
            let page = self.leases(ended, after.as_deref()).await?;
            leases.extend(page.leases);
            after = page.next;
            if after.is_none() {
                return Ok(leases);
            }
        }
    }

    /// One lease.
    pub async fn lease(&self, id: &str) -> Result<Lease, ClientError> {
        self.get(&format!("/v1/leases/{}", escape(id))).await
    }

    /// One lease, once it has ended; or as it is after a minute.
    pub async fn wait(&self, id: &str) -> Result<Lease, ClientError> {
        self.get(&format!("/v1/leases/{}/wait?within=60", escape(id))).await
    }

    /// A lease once it is known whether its guest is well, or it has ended; or as it is after a minute.
    pub async fn wait_for_health(&self, id: &str) -> Result<Lease, ClientError> {
        self.get(&format!("/v1/leases/{}/wait?within=60&until=healthy", escape(id))).await
    }

    /// Ends a lease.
    pub async fn stop(&self, id: &str) -> Result<Lease, ClientError> {
        self.sent(Method::DELETE, &format!("/v1/leases/{}", escape(id)), &()).await
    }

    /// Asks for more time.
    pub async fn renew(&self, id: &str, more: More) -> Result<Lease, ClientError> {
        self.sent(Method::POST, &format!("/v1/leases/{}/renew", escape(id)), &more).await
    }

    /// As host: answers a tenant who waits for more time.
    pub async fn answer_renewal(&self, id: &str, grant: bool) -> Result<Lease, ClientError> {
        let answer = RenewalAnswer { grant };
        self.sent(Method::POST, &format!("/v1/leases/{}/renewal", escape(id)), &answer).await
    }

    /// Judges the other party.
    pub async fn rate(&self, id: &str, marks: &Marks) -> Result<Lease, ClientError> {
        self.sent(Method::POST, &format!("/v1/leases/{}/rate", escape(id)), marks).await
    }

    /// What a guest has printed, piece by piece.
    pub async fn logs(&self, id: &str, wish: &LogsWish) -> Result<Pieces, ClientError> {
        let mut path = format!("/v1/leases/{}/logs?follow={}&from={}", escape(id), wish.follow, wish.from);
        let named = [
            ("since", wish.since.map(|moment| moment.to_string())),
            ("until", wish.until.map(|moment| moment.to_string())),
            ("tail", wish.tail.map(|lines| lines.to_string())),
            ("timestamps", wish.timestamps.then(|| true.to_string())),
        ];
        for (name, value) in named {
            path.extend(value.map(|value| format!("&{name}={}", escape(&value))));
        }
        Ok(Pieces(self.ask(Method::GET, &path, &()).await?.into_body()))
    }

    /// What a guest takes.
    pub async fn stats(&self, id: &str) -> Result<Stats, ClientError> {
        self.get(&format!("/v1/leases/{}/stats", escape(id))).await
    }

    /// What a guest takes, each second. Dropping it ends it.
    pub async fn live_stats(&self, id: &str) -> Result<Samples, ClientError> {
        let path = format!("/v1/leases/{}/stats/live", escape(id));
        Ok(Samples(Lines::new(self.ask(Method::GET, &path, &()).await?.into_body())))
    }

    /// What goes on in a guest of ours.
    pub async fn processes(&self, id: &str) -> Result<GuestProcesses, ClientError> {
        self.get(&format!("/v1/leases/{}/processes", escape(id))).await
    }

    /// Ports that lead into a guest.
    pub async fn ports(&self, id: &str) -> Result<Ports, ClientError> {
        self.get(&format!("/v1/leases/{}/ports", escape(id))).await
    }

    /// Lets a port lead into a guest.
    pub async fn open_port(&self, id: &str, port: Port) -> Result<Port, ClientError> {
        self.sent(Method::POST, &format!("/v1/leases/{}/ports", escape(id)), &port).await
    }

    /// The dispute pack of a lease.
    pub async fn pack(&self, id: &str) -> Result<Pack, ClientError> {
        self.get(&format!("/v1/leases/{}/pack", escape(id))).await
    }

    /// All images.
    pub async fn images(&self) -> Result<Images, ClientError> {
        self.get("/v1/images").await
    }

    /// One image.
    pub async fn image(&self, id: &str) -> Result<Inspection, ClientError> {
        self.get(&format!("/v1/images/{}", escape(id))).await
    }

    /// Removes an image.
    pub async fn remove_image(&self, id: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &format!("/v1/images/{}", escape(id)), &()).await.map(drop)
    }

    /// Fetches an image from its registry. Dropping it cancels.
    pub async fn pull(&self, wish: &Pull) -> Result<Told<ImageProgress, Image>, ClientError> {
        self.told("/v1/images/pull", wish).await
    }

    /// Takes an image from a file or directory. Dropping it cancels.
    pub async fn import(&self, wish: &Import) -> Result<Told<ImageProgress, Image>, ClientError> {
        self.told("/v1/images/import", wish).await
    }

    /// Makes an image of a folder. Dropping it cancels.
    pub async fn build(&self, wish: &Build) -> Result<Told<ImageProgress, Image>, ClientError> {
        self.told("/v1/images/build", wish).await
    }

    /// What images take of the node's computer, and by which rules.
    pub async fn image_store(&self) -> Result<ImageStore, ClientError> {
        self.get("/v1/image-store").await
    }

    /// Changes those rules.
    pub async fn set_image_rules(&self, wish: &ImageRulesWish) -> Result<ImageStore, ClientError> {
        self.sent(Method::PUT, "/v1/image-store", wish).await
    }

    /// Removes images that nobody needs.
    pub async fn collect_images(&self, wish: &CollectWish) -> Result<Collected, ClientError> {
        self.sent(Method::POST, "/v1/image-store/collect", wish).await
    }

    /// Says whether neighbours may have an image.
    pub async fn open_image(&self, wish: &Openness) -> Result<(), ClientError> {
        self.ask(Method::POST, "/v1/image-store/open", wish).await.map(drop)
    }

    /// Volumes: ours, and others' on the node's computer.
    pub async fn volumes(&self) -> Result<Volumes, ClientError> {
        self.get("/v1/volumes").await
    }

    /// What the host says of a volume of ours.
    pub async fn volume(&self, lease: &str, name: &str) -> Result<VolumeSeen, ClientError> {
        self.get(&volume_path(lease, name, "")).await
    }

    /// Removes a volume for good.
    pub async fn remove_volume(&self, lease: &str, name: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &volume_path(lease, name, ""), &()).await.map(drop)
    }

    /// Keeps a volume as it is now.
    pub async fn snapshot_volume(
        &self,
        lease: &str,
        name: &str,
        wish: &SnapshotWish,
    ) -> Result<VolumeSeen, ClientError> {
        self.sent(Method::POST, &volume_path(lease, name, "/snapshots"), wish).await
    }

    /// Removes a snapshot.
    pub async fn remove_snapshot(&self, lease: &str, name: &str, snapshot: &str) -> Result<(), ClientError> {
        let path = volume_path(lease, name, &format!("/snapshots/{}", escape(snapshot)));
        self.ask(Method::DELETE, &path, &()).await.map(drop)
    }

    /// Copies the files of a volume into an archive. Dropping it cancels.
    pub async fn export_volume(
        &self,
        lease: &str,
        name: &str,
        wish: &VolumeExport,
    ) -> Result<Told<VolumeCopied, VolumeCopied>, ClientError> {
        self.told(&volume_path(lease, name, "/export"), wish).await
    }

    /// Puts the files of an archive into a volume. Dropping it cancels.
    pub async fn import_volume(
        &self,
        lease: &str,
        name: &str,
        wish: &VolumeImport,
    ) -> Result<Told<VolumeCopied, VolumeCopied>, ClientError> {
        self.told(&volume_path(lease, name, "/import"), wish).await
    }

    /// The balance of each account.
    pub async fn ledger(&self) -> Result<Ledger, ClientError> {
        self.get("/v1/ledger").await
    }

    /// A page of postings.
    pub async fn postings(&self, before: Option<u64>) -> Result<Postings, ClientError> {
        self.get(&format!(
            "/v1/ledger/postings{}",
            before.map(|before| format!("?before={before}")).unwrap_or_default()
        ))
        .await
    }

    /// What passed between the node's person and others from a moment on and before another, with one person or all.
    pub async fn statement(
        &self,
        from: Moment,
        until: Moment,
        person: Option<&str>,
    ) -> Result<Statement, ClientError> {
        let (from, until) = (escape(&from.to_string()), escape(&until.to_string()));
        let person = person.map(|person| format!("&person={}", escape(person))).unwrap_or_default();
        self.get(&format!("/v1/ledger/statement?from={from}&until={until}{person}")).await
    }

    /// All of whom something is known.
    pub async fn reputation(&self) -> Result<Reputation, ClientError> {
        self.get("/v1/reputation").await
    }

    /// What is known of one person.
    pub async fn reputation_of(&self, person: &str) -> Result<Score, ClientError> {
        self.get(&format!("/v1/reputation/{}", escape(person))).await
    }

    /// Who is connected.
    pub async fn peers(&self) -> Result<Peers, ClientError> {
        self.get("/v1/peers").await
    }

    /// Meets the peer at an address.
    pub async fn dial(&self, address: &str) -> Result<Met, ClientError> {
        self.sent(Method::POST, "/v1/peers", &Dial { address: address.to_owned() }).await
    }

    /// The book for an accounting program, piece by piece.
    pub async fn export(&self, form: Form) -> Result<Pieces, ClientError> {
        let form = match form {
            Form::Csv => "csv",
            Form::Hledger => "hledger",
            Form::Beancount => "beancount",
        };
        Ok(Pieces(self.ask(Method::GET, &format!("/v1/ledger/export?form={form}"), &()).await?.into_body()))
    }

    /// Where the pages are served.
    pub async fn dashboard(&self) -> Result<Dashboard, ClientError> {
        self.get("/v1/dashboard").await
    }

    /// A link that lets one browser in.
    pub async fn dashboard_link(&self) -> Result<Link, ClientError> {
        self.sent(Method::POST, "/v1/dashboard/links", &()).await
    }

    /// A new passphrase for the local network.
    pub async fn set_dashboard_passphrase(&self, passphrase: &str) -> Result<(), ClientError> {
        let new = NewPassphrase { passphrase: passphrase.to_owned() };
        self.ask(Method::PUT, "/v1/dashboard/passphrase", &new).await.map(drop)
    }

    /// Ends the sessions of all browsers.
    pub async fn end_browsers(&self) -> Result<(), ClientError> {
        self.ask(Method::DELETE, "/v1/dashboard/browsers", &()).await.map(drop)
    }

    /// Who the node is.
    pub async fn identity(&self) -> Result<Identity, ClientError> {
        self.get("/v1/identity").await
    }

    /// The words of the person's key.
    pub async fn words(&self, passphrase: Option<String>) -> Result<Words, ClientError> {
        self.sent(Method::POST, "/v1/identity/words", &Passphrase { passphrase }).await
    }

    /// Proves that the owner has the words.
    pub async fn confirm_words(&self, words: &Words) -> Result<Identity, ClientError> {
        self.sent(Method::POST, "/v1/identity/confirm", words).await
    }

    /// Locks the person's key.
    pub async fn lock_key(&self, passphrase: &str) -> Result<Identity, ClientError> {
        let passphrase = Passphrase { passphrase: Some(passphrase.to_owned()) };
        self.sent(Method::POST, "/v1/identity/lock", &passphrase).await
    }

    /// Takes the passphrase off again.
    pub async fn unlock_key(&self, passphrase: &str) -> Result<Identity, ClientError> {
        let passphrase = Passphrase { passphrase: Some(passphrase.to_owned()) };
        self.sent(Method::POST, "/v1/identity/unlock", &passphrase).await
    }

    /// Takes the person's key off the node's computer.
    pub async fn forget_key(&self) -> Result<Identity, ClientError> {
        self.sent(Method::POST, "/v1/identity/forget", &()).await
    }

    /// Brings a key back by its words.
    pub async fn restore_key(&self, words: &Words) -> Result<Restored, ClientError> {
        self.sent(Method::POST, "/v1/identity/restore", words).await
    }

    /// What is set.
    pub async fn settings(&self) -> Result<Settings, ClientError> {
        self.get("/v1/settings").await
    }

    /// Sets it.
    pub async fn set_settings(&self, wish: &SettingsWish) -> Result<Settings, ClientError> {
        self.sent(Method::PUT, "/v1/settings", wish).await
    }

    /// Payments of the last months.
    pub async fn payments(&self) -> Result<Payments, ClientError> {
        self.get("/v1/payments").await
    }

    /// Says that a debt was paid.
    pub async fn pay(&self, wish: &PaymentWish) -> Result<Payment, ClientError> {
        self.sent(Method::POST, "/v1/payments", wish).await
    }

    /// Says whether a payment has come.
    pub async fn answer_payment(&self, id: &str, answer: &PaymentAnswer) -> Result<Payment, ClientError> {
        self.sent(Method::POST, &format!("/v1/payments/{}/answer", escape(id)), answer).await
    }

    /// Everyone of whom something is known.
    pub async fn people(&self) -> Result<People, ClientError> {
        self.get("/v1/people").await
    }

    /// One person.
    pub async fn person(&self, person: &str) -> Result<Person, ClientError> {
        self.get(&format!("/v1/people/{}", escape(person))).await
    }

    /// Keeps what the owner makes of a person.
    pub async fn regard(&self, person: &str, wish: &Regarding) -> Result<Person, ClientError> {
        self.sent(Method::PUT, &format!("/v1/people/{}", escape(person)), wish).await
    }

    /// Forgets what the owner makes of a person.
    pub async fn forget(&self, person: &str) -> Result<Person, ClientError> {
        self.sent(Method::DELETE, &format!("/v1/people/{}", escape(person)), &()).await
    }

    /// Invites that stand, and those of others that were accepted.
    pub async fn invites(&self) -> Result<Invites, ClientError> {
        self.get("/v1/invites").await
    }

    /// Makes an invite.
    pub async fn invite(&self, wish: &InviteWish) -> Result<Invite, ClientError> {
        self.sent(Method::POST, "/v1/invites", wish).await
    }

    /// Takes an invite back.
    pub async fn withdraw(&self, id: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, &format!("/v1/invites/{}", escape(id)), &()).await.map(drop)
    }

    /// Accepts the invite of another.
    pub async fn join(&self, link: &str) -> Result<Person, ClientError> {
        self.sent(Method::POST, "/v1/invites/accept", &Join { link: link.to_owned() }).await
    }

    /// What happens, as it happens.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let body = self.ask(Method::GET, "/v1/events", &()).await?.into_body();
        Ok(Events(Lines::new(body)))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.sent(Method::GET, path, &()).await
    }

    async fn sent<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let response = self.ask(method, path, body).await?;
        read(&whole(response.into_body()).await?)
    }

    async fn told<P, T>(&self, path: &str, body: &impl Serialize) -> Result<Told<P, T>, ClientError> {
        let body = self.ask(Method::POST, path, body).await?.into_body();
        Ok(Told { lines: Lines::new(body), what: PhantomData })
    }

    /// The answer, once it has begun and is no problem.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, ClientError> {
        let response = timeout(ANSWER_TIME, self.send(method, path, body))
            .await
            .map_err(|_| ClientError::Timeout(ANSWER_TIME))??;
        granted(response).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = Request::builder().method(&method).uri(path);
        let body = if method == Method::GET { Bytes::new() } else { to_json(body)?.into() };
        let request =
            if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
        self.carry(request, Full::new(body)).await
    }

    /// Sends any body on its way.
    async fn carry<B>(
        &self,
        request: axum::http::request::Builder,
        body: B,
    ) -> Result<Response<Incoming>, ClientError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.way {
            Way::Socket(data) => {
                let stream = socket::connect(data).await.map_err(|error| nobody(error, data))?;
                exchange(stream, request.header(HOST, "localhost").body(body)).await
            }
            Way::Port { address, token } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let request = request
                    .header(HOST, address.to_string())
                    .header(AUTHORIZATION, format!("Bearer {token}"));
                exchange(stream, request.body(body)).await
            }
        }
    }
}

/// An answer that is no problem.
async fn granted(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let said = whole(response.into_body()).await?;
    let problem = serde_json::from_slice(&said).unwrap_or_else(|_| strange(status, &said));
    Err(ClientError::Problem(problem))
}

/// Nobody listens at the socket: there is none, or it was left behind.
fn nobody(error: std::io::Error, data: &Path) -> ClientError {
    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
        return ClientError::NoNode(data.to_owned());
    }
    error.into()
}

/// One connection for one request: to dial a socket takes microseconds.
async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Result<Request<B>, axum::http::Error>,
) -> Result<Response<Incoming>, ClientError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let request = request.map_err(|error| ClientError::Answer(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer, or when nobody reads that any more.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// What is refused before a route is reached may be no problem document.
fn strange(status: StatusCode, said: &[u8]) -> Problem {
    Problem::new(
        status,
        "strange_answer",
        String::from_utf8_lossy(said).chars().take(400).collect::<String>(),
    )
}

async fn whole(body: Incoming) -> Result<Bytes, ClientError> {
    let limited = Limited::new(body, LARGEST_ANSWER).collect().await;
    limited.map(|collected| collected.to_bytes()).map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => ClientError::Http(*broken),
        Err(other) if other.is::<LengthLimitError>() => {
            ClientError::Answer(format!("more than {LARGEST_ANSWER} bytes"))
        }
        Err(other) => ClientError::Answer(other.to_string()),
    })
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(json).map_err(|error| ClientError::Answer(error.to_string()))
}

fn to_json(body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))
}

fn volume_path(lease: &str, name: &str, rest: &str) -> String {
    format!("/v1/leases/{}/volumes/{}{rest}", escape(lease), escape(name))
}

fn bucket(by: BucketLength) -> &'static str {
    match by {
        BucketLength::Hour => "hour",
        BucketLength::Day => "day",
        BucketLength::Month => "month",
    }
}

/// Makes a text one part of a path: names of images have slashes in them.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What a guest prints, piece by piece.
pub struct Pieces(Incoming);

impl Pieces {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// When the host is gone, or the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.0.frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

/// What happens, one after the other.
pub struct Events(Lines);

impl Events {
    /// The next; none once the node has stopped.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        let Some((_, data)) = self.0.next().await? else { return Ok(None) };
        read(data.as_bytes()).map(Some)
    }
}

/// What a guest takes, one sample after the other.
pub struct Samples(Lines);

impl Samples {
    /// The next; none once the guest has ended.
    ///
    /// # Errors
    /// When the host is gone, or the connection breaks.
    pub async fn next(&mut self) -> Result<Option<StatsSample>, ClientError> {
        let Some((name, data)) = self.0.next().await? else { return Ok(None) };
        match name.as_str() {
            "problem" => Err(ClientError::Problem(read(data.as_bytes())?)),
            _ => read(data.as_bytes()).map(Some),
        }
    }
}

/// Work that tells how far it has come.
pub struct Told<P, T> {
    lines: Lines,
    what: PhantomData<fn() -> (P, T)>,
}

impl<P: DeserializeOwned, T: DeserializeOwned> Told<P, T> {
    /// What the work came to. `progress` hears how far it is.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub async fn done(mut self, mut progress: impl FnMut(P)) -> Result<T, ClientError> {
        while let Some((name, data)) = self.lines.next().await? {
            match name.as_str() {
                "progress" => progress(read(data.as_bytes())?),
                "done" => return read(data.as_bytes()),
                "problem" => return Err(ClientError::Problem(read(data.as_bytes())?)),
                // A later node may tell more.
                _ => {}
            }
        }
        Err(ClientError::Answer("it broke off".to_owned()))
    }
}

/// Server-sent events, as our node writes them.
struct Lines {
    body: Incoming,
    unread: BytesMut,
}

impl Lines {
    fn new(body: Incoming) -> Lines {
        Lines { body, unread: BytesMut::new() }
    }

    /// The name and data of the next event; none after the last.
    async fn next(&mut self) -> Result<Option<(String, String)>, ClientError> {
        loop {
            if let Some(event) = take_event(&mut self.unread) {
                return Ok(Some(event));
            }
            if self.unread.len() > LARGEST_EVENT {
                return Err(ClientError::Answer(format!("an event of more than {LARGEST_EVENT} bytes")));
            }
            let Some(frame) = self.body.frame().await.transpose()? else { return Ok(None) };
            if let Ok(piece) = frame.into_data() {
                self.unread.extend_from_slice(&piece);
            }
        }
    }
}

/// Takes the first whole event that has data; comments, which keep the connection awake, are passed over.
fn take_event(unread: &mut BytesMut) -> Option<(String, String)> {
    while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
        let block = unread.split_to(end + 2);
        let text = String::from_utf8_lossy(&block);
        let field =
            |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().to_owned()));
        if let Some(data) = field("data:") {
            return Some((field("event:").unwrap_or_default(), data));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whole_and_in_order() {
        let mut unread = BytesMut::from(
            ":\n\nevent: progress\ndata: {\"a\":1}\n\nevent: done\ndata: 2\n\nevent: hal".as_bytes(),
        );
        assert_eq!(take_event(&mut unread).unwrap(), ("progress".to_owned(), "{\"a\":1}".to_owned()));
        assert_eq!(take_event(&mut unread).unwrap(), ("done".to_owned(), "2".to_owned()));
        assert_eq!(take_event(&mut unread), None);
        assert_eq!(&unread[..], b"event: hal");
    }

    #[test]
    fn a_name_with_slashes_is_one_part_of_a_path() {
        assert_eq!(escape("127.0.0.1:5000/app:1"), "127.0.0.1%3A5000%2Fapp%3A1");
    }
}
