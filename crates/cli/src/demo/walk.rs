//! The walk itself, step by step.

use super::facts::Facts;
use super::house::{House, Node};
use super::story::Story;
use super::web;
use anyhow::{Context, Result, bail, ensure};
use api::node::model::{Currency, Span};
use api::shapes::{
    Account, Build, Event, Lease, LeaseState, Lending, LogsWish, Marks, Match, Money, Network, OwnerPolicy,
    Port, Prices, Protocol, Query, RentWish, Seconds, ShareWish,
};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// From tick to tick: short, so that two fit into the demo.
const TICK: Span = Span::seconds(6);

/// What a core costs for an hour, in millionths of a euro: a hundred millionths each second.
const CORE_PRICE: i64 = 360_000;

/// How long mDNS is given before the address is named.
const MDNS: Duration = Duration::from_secs(3);

/// How long any one step may take.
const STEP: Duration = Duration::from_secs(60);

/// The guest's own limit of work: about 20 seconds on one core of an office computer.
const SAMPLES: &str = "40";

const GUEST_PORT: u16 = 8080;

/// Walks from two empty directories to two ledgers that agree.
pub async fn walk(house: &mut House, guest: &Path, story: &Story<'_>) -> Result<Facts> {
    let mut facts = Facts::default();
    start(house, story, &mut facts).await?;
    measure(&house.host, story, &mut facts).await?;
    lend(&house.host, story, &mut facts).await?;
    meet(house, story, &mut facts).await?;
    build_image(house, guest, story, &mut facts).await?;
    let found = search(&house.tenant, story, &mut facts).await?;
    let lease = rent(&house.tenant, &found, story, &mut facts).await?;
    fetch_picture(&lease, story, &mut facts).await?;
    finish(house, &lease, story, &mut facts).await?;
    judge_each_other(house, &lease, story, &mut facts).await?;
    compare(house, &lease, story, &mut facts).await?;
    facts.judge();
    Ok(facts)
}

async fn start(house: &mut House, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    tokio::try_join!(house.host.start(), house.tenant.start())?;
    facts.took("start", since);
    story.tell("Two nodes run, each a process with a data directory of its own: a host and a tenant.");
    Ok(())
}

async fn measure(host: &Node, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    story.tell("The host measures its machine ..");
    let measured = host.client().benchmark().await?.done(|_| {}).await.context("measure the host")?;
    facts.took("measure", since);
    let speed = measured.speed;
    story.tell(format!(
        ".. in rating units (1000 is the reference): core {}, all cores {}, memory {}, disk {}.",
        speed.core, speed.cores, speed.memory, speed.disk
    ));
    Ok(())
}

async fn lend(host: &Node, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    let price = |micros| Money::from(api::node::model::Amount::new(micros, Currency::Iso(*b"EUR")));
    let wish = ShareWish {
        prices: Some(Prices::Rent { core: price(CORE_PRICE), memory_gib: price(0), disk_gib: price(0) }),
        tick: Some(Seconds(TICK)),
        region: Some("loopback".to_owned()),
        ..ShareWish::default()
    };
    // Whoever looks at the demo uses keyboard and mouse, maybe on battery: nothing of that is its subject.
    let policy = host.client().owner().await.context("read the owner's policy")?.policy;
    let always = OwnerPolicy { lending: Lending::Always, ..policy };
    host.client().set_policy(&always).await.context("set the owner's policy")?;
    let mine = host.client().set_offer(&wish).await.context("publish the offer")?;
    facts.took("offer", since);
    let lent = mine.share.context("nothing is lent")?;
    story.tell(format!(
        "It signs and publishes an offer: {} at {} a core-hour.",
        resources(&lent.resources),
        price(CORE_PRICE).text
    ));
    Ok(())
}

async fn meet(house: &House, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    facts.met_by = "mdns".to_owned();
    let seen = timeout(MDNS, sees_an_offer(&house.tenant)).await;
    if seen.is_err() {
        let addresses = house.host.client().status().await?.addresses;
        let address = addresses.first().context("the host has no address")?;
        house.tenant.client().dial(address).await.with_context(|| format!("meet the host at {address}"))?;
        facts.met_by = "address".to_owned();
        within(sees_an_offer(&house.tenant), "the offer to reach the tenant").await??;
    }
    facts.took("meet", since);
    story.tell(format!(
        "The two meet over libp2p by {}; the offer reaches the tenant, who verifies its signature.",
        facts.met_by
    ));
    Ok(())
}

async fn sees_an_offer(tenant: &Node) -> Result<()> {
    while tenant.client().offers(None).await?.offers.is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn build_image(house: &House, guest: &Path, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    let folder = house.path().join("image");
    fs::create_dir_all(&folder).context("make the image's folder")?;
    fs::copy(guest, folder.join("render")).with_context(|| format!("copy {}", guest.display()))?;
    fs::set_permissions(folder.join("render"), fs::Permissions::from_mode(0o755))
        .context("make the guest a program")?;
    let build = Build {
        dir: folder,
        name: Some("sublet/render:demo".to_owned()),
        entrypoint: Some(vec!["/render".to_owned()]),
        ports: vec![GUEST_PORT],
        ..Build::default()
    };
    let image = house.tenant.client().build(&build).await?.done(|_| {}).await.context("build the image")?;
    facts.took("build", since);
    facts.image.clone_from(&image.digest);
    story.tell(format!(
        "The tenant makes an image of a folder with one static program: {} ({} bytes).",
        &image.digest[..19],
        image.size_bytes
    ));
    Ok(())
}

async fn search(tenant: &Node, story: &Story<'_>, facts: &mut Facts) -> Result<Match> {
    let since = Instant::now();
    let found = tenant.client().search(&query()).await.context("search the market")?;
    facts.took("search", since);
    let best = found.matches.into_iter().next().context("no offer suits; is the machine very small?")?;
    story.tell(format!("It searches: an hour of one core costs {} there.", best.hourly.text));
    Ok(best)
}

fn query() -> Query {
    Query {
        cpu_millis: 1_000,
        memory_bytes: 64 << 20,
        disk_bytes: 8 << 20,
        term: Seconds(Span::minutes(10)),
        ..Query::default()
    }
}

/// Agrees, and follows the guest until it prints something.
async fn rent(tenant: &Node, found: &Match, story: &Story<'_>, facts: &mut Facts) -> Result<Lease> {
    let mut events = tenant.client().events().await?;
    let query = query();
    let wish = RentWish {
        image: "sublet/render:demo".to_owned(),
        command: ["--samples", SAMPLES, "--threads", "1"].map(str::to_owned).to_vec(),
        env: Vec::new(),
        cpu_millis: query.cpu_millis,
        memory_bytes: query.memory_bytes,
        disk_bytes: query.disk_bytes,
        term: query.term,
        max_price: Some(found.hourly.clone()),
        mode: None,
        on: Some(found.offer.host.device.clone()),
        min_trust: 0,
        options: Default::default(),
        volumes: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        ports: vec![Port { local: 0, guest: GUEST_PORT, protocol: Protocol::Tcp }],
        network: Network::None,
    };
    let since = Instant::now();
    let lease = tenant.client().rent(&wish).await.context("agree a lease")?;
    facts.took("deal", since);
    facts.lease.clone_from(&lease.id);
    facts.hourly = Some(lease.hourly.clone());
    story.tell(format!(
        "Ask, quote, two signatures: lease {} for at most {}.",
        &lease.id[..8],
        lease.at_most.text
    ));

    let (mut step, mut since) = ("fetch", Instant::now());
    loop {
        let event =
            within(events.next(), "the guest to start").await??.context("the tenant's node stopped")?;
        let Event::Lease { lease: id, standing } = event else { continue };
        if id != lease.id {
            continue;
        }
        match standing.state {
            LeaseState::Agreed | LeaseState::Fetching => {}
            LeaseState::Starting => {
                facts.took(step, since);
                (step, since) = ("start_guest", Instant::now());
                story.tell("The host has fetched the image from the tenant, each part held to its digest; that time is free.");
            }
            LeaseState::Running | LeaseState::Throttled => {
                facts.took(step, since);
                break;
            }
            LeaseState::Frozen | LeaseState::Closing | LeaseState::Ended => {
                bail!("the guest did not start: {}", standing.sentence.unwrap_or(standing.detail))
            }
        }
    }
    let since = Instant::now();
    let follow = LogsWish { follow: true, ..LogsWish::default() };
    let mut output = within(tenant.client().logs(&lease.id, &follow), "the guest's output").await??;
    let first =
        within(output.next(), "the guest's first byte").await??.context("the guest printed nothing")?;
    facts.took("first_byte", since);
    let line = String::from_utf8_lossy(&first).lines().next().unwrap_or_default().to_owned();
    story.tell(format!("The guest runs in its sandbox, and says: \"{line}\""));
    within(tenant.client().lease(&lease.id), "the lease").await?.map_err(Into::into)
}

/// Reads progress and picture through a port of the tenant's own computer.
async fn fetch_picture(lease: &Lease, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let port = lease.ports.first().context("no port leads into the guest")?.local;
    story.tell(format!("The tenant watches it at http://127.0.0.1:{port}/progress"));
    let since = Instant::now();
    let mut told = 0;
    let picture = loop {
        ensure!(
            since.elapsed() < 5 * STEP,
            "the picture was not ready after {} s",
            since.elapsed().as_secs()
        );
        if let Some(picture) = web::get(port, "/result").await? {
            break picture;
        }
        let progress = web::get(port, "/progress").await?.context("the guest tells no progress")?;
        let progress: serde_json::Value =
            serde_json::from_slice(&progress).context("read the guest's progress")?;
        let percent = progress["percent"].as_f64().unwrap_or_default() as u64;
        if percent >= told + 20 {
            told = percent;
            story.tell(format!("  {percent} % of the picture"));
        }
        sleep(Duration::from_millis(500)).await;
    };
    facts.took("work", since);
    let said = web::get(port, "/hash").await?.context("the guest tells no hash")?;
    let said = String::from_utf8_lossy(&said).trim().trim_start_matches("sha256:").to_owned();
    facts.picture_bytes = picture.len();
    facts.picture_sha256 = Sha256::digest(&picture).iter().map(|byte| format!("{byte:02x}")).collect();
    facts.check(
        "the picture is a PNG file",
        picture.starts_with(b"\x89PNG\r\n\x1a\n"),
        format!("{} bytes", picture.len()),
    );
    let same = said == facts.picture_sha256;
    facts.check(
        "the picture that came out is the one that was traced",
        same,
        format!("sha256 {}", &facts.picture_sha256[..16]),
    );
    story.tell(format!(
        "The picture is fetched out: {} bytes, sha256 {}.",
        picture.len(),
        &facts.picture_sha256[..16]
    ));
    Ok(())
}

/// Waits for two receipts, then ends the lease.
async fn finish(house: &House, lease: &Lease, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    within(
        until(&house.tenant, lease, |lease| {
            lease.receipt.as_ref().is_some_and(|receipt| receipt.number >= 2)
        }),
        "two receipts",
    )
    .await??;
    story.tell("Two running totals are signed by the host, compared with the tenant's own clock, and signed by the tenant.");
    let since = Instant::now();
    house.tenant.client().stop(&lease.id).await.context("stop the lease")?;
    let over = |lease: &Lease| {
        lease.standing.state == LeaseState::Ended
            && lease.receipt.as_ref().is_some_and(|receipt| receipt.last)
    };
    let (here, there) = tokio::join!(
        within(until(&house.tenant, lease, over), "the lease to end"),
        within(until(&house.host, lease, over), "the lease to end")
    );
    facts.took("end", since);
    let (here, there) = (here??, there??);
    let last = here.receipt.clone().context("no receipt")?;
    facts.same("both hold the same last receipt", &here.receipt, &there.receipt);
    facts.same("both say how it ended", &here.standing.reason, &there.standing.reason);
    facts.check(
        "two ticks and the last were signed by both",
        last.number >= 3,
        format!("{} receipts", last.number),
    );
    let due = api::node::model::Rate::hourly((&lease.hourly).into())
        .over(last.billed.0)
        .context("count what is due")?;
    facts.same("the amount is price times time", &last.amount, &Money::from(due));
    facts.receipts = last.number;
    facts.billed_seconds = last.billed.0.0 as f64 / 1_000.0;
    story.tell(format!(
        "The lease ends: {} for {:.1} s, signed by both.",
        last.amount.text, facts.billed_seconds
    ));
    facts.amount = Some(last.amount);
    Ok(())
}

async fn judge_each_other(house: &House, lease: &Lease, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let since = Instant::now();
    let before = (trust(&house.tenant, lease).await?, trust_of_tenant(house).await?);
    let marks = |text: &str| Marks { kept: 5, quality: 5, manners: 5, text: text.to_owned() };
    house.tenant.client().rate(&lease.id, &marks("a fine picture")).await.context("rate the host")?;
    house.host.client().rate(&lease.id, &marks("signed on time")).await.context("rate the tenant")?;
    let both = |lease: &Lease| lease.rated_by_host.is_some() && lease.rated_by_tenant.is_some();
    let (here, there) = tokio::join!(
        within(until(&house.tenant, lease, both), "both ratings"),
        within(until(&house.host, lease, both), "both ratings")
    );
    let (here, there) = (here??, there??);
    facts.took("rate", since);
    facts.same("both hold the host's rating", &here.rated_by_host, &there.rated_by_host);
    facts.same("both hold the tenant's rating", &here.rated_by_tenant, &there.rated_by_tenant);
    let after = (trust(&house.tenant, lease).await?, trust_of_tenant(house).await?);
    facts.check(
        "the host's reputation with the tenant rose",
        after.0 > before.0,
        format!("{} to {} of 1000", before.0, after.0),
    );
    facts.check(
        "the tenant's reputation with the host rose",
        after.1 > before.1,
        format!("{} to {} of 1000", before.1, after.1),
    );
    story.tell(format!(
        "Each rates the other. The host now counts {} of 1000 with the tenant, the tenant {} with the host.",
        after.0, after.1
    ));
    Ok(())
}

/// What the tenant makes of the lease's host.
async fn trust(tenant: &Node, lease: &Lease) -> Result<u32> {
    Ok(tenant
        .client()
        .reputation_of(&lease.other.person)
        .await
        .context("ask for the host's reputation")?
        .trust)
}

async fn trust_of_tenant(house: &House) -> Result<u32> {
    let tenant = house.tenant.client().status().await?.me.person;
    Ok(house.host.client().reputation_of(&tenant).await.context("ask for the tenant's reputation")?.trust)
}

/// Holds both ledgers and both records against each other.
async fn compare(house: &House, lease: &Lease, story: &Story<'_>, facts: &mut Facts) -> Result<()> {
    let (host, tenant) =
        (house.host.client().status().await?.me.person, house.tenant.client().status().await?.me.person);
    let (lent, used) = (balances(&house.host).await?, balances(&house.tenant).await?);
    let owed = facts.amount.as_ref().map_or(0, |amount| amount.micros);
    facts.same("the host's book: the tenant owes what was signed", &lent.person(&tenant), &owed);
    facts.same("the host's book: so much was earned", &lent.income, &-owed);
    facts.same("the tenant's book: the host is owed what was signed", &used.person(&host), &-owed);
    facts.same("the tenant's book: so much was spent", &used.expense, &owed);
    let (mine, theirs) = tokio::try_join!(house.host.client().record(), house.tenant.client().record())
        .context("verify both records")?;
    facts.check(
        "both records are chains without a break",
        mine.records > 0 && theirs.records > 0,
        format!("{} and {} records", mine.records, theirs.records),
    );
    (facts.host_record, facts.tenant_record) = (mine.head, theirs.head);
    for (name, node) in [("host", &house.host), ("tenant", &house.tenant)] {
        let pack =
            node.client().pack(&lease.id).await.with_context(|| format!("gather the {name}'s proofs"))?;
        let pack = serde_json::to_vec(&pack).context("write the proofs")?;
        let verdict = api::pack::check(&pack).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        facts.check(
            &format!("the {name}'s proofs hold by themselves, offline"),
            verdict.holds,
            format!("{} checks", verdict.checks.len()),
        );
        facts.same(
            &format!("the {name}'s proofs give the same amount"),
            &verdict.facts.owed,
            &facts.amount.clone(),
        );
    }
    story.tell("Both ledgers, both records and both bundles of proofs are held against each other.");
    Ok(())
}

#[derive(Default)]
struct Book {
    people: Vec<(String, i64)>,
    income: i64,
    expense: i64,
}

impl Book {
    fn person(&self, wanted: &str) -> i64 {
        self.people.iter().filter(|(person, _)| person == wanted).map(|(_, micros)| micros).sum()
    }
}

async fn balances(node: &Node) -> Result<Book> {
    let mut book = Book::default();
    for balance in node.client().ledger().await.context("read a ledger")?.balances {
        match balance.account {
            Account::Person { person, .. } => book.people.push((person, balance.amount.micros)),
            Account::Income => book.income += balance.amount.micros,
            Account::Expense => book.expense += balance.amount.micros,
            // Nothing is paid in the demo.
            Account::Settled => {}
        }
    }
    Ok(book)
}

/// Looks at a lease until it is as wanted.
async fn until(node: &Node, lease: &Lease, wanted: impl Fn(&Lease) -> bool) -> Result<Lease> {
    loop {
        let lease = node.client().lease(&lease.id).await?;
        if wanted(&lease) {
            return Ok(lease);
        }
        sleep(Duration::from_millis(25)).await;
    }
}

async fn within<T>(step: impl Future<Output = T>, what: &str) -> Result<T> {
    timeout(STEP, step).await.with_context(|| format!("waited {} s for {what}", STEP.as_secs()))
}

fn resources(lent: &api::shapes::Resources) -> String {
    api::node::model::Resources::from(*lent).to_string()
}
