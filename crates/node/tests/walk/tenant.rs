//! What a tenant sees of a guest that runs elsewhere.

use crate::{MIB, Pair, busybox_that_ends_by, rent, start, until};
use model::message::LogView;
use model::{Id, Lease, Phase, Span, Timestamp};
use node::{LogWish, NodeHandle};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::{Duration, sleep};

pub async fn a_tenant_reads_the_lines_that_it_wants() {
    let pair = Pair::meet().await;
    let lease = pair
        .run(&["sh", "-c", "echo one; echo two >&2; sleep 1; echo three; trap exit TERM; sleep 300 & wait"])
        .await
        .expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    let stamped = LogView { timestamps: true, ..LogView::default() };
    let lines = loop {
        let lines: Vec<String> =
            read(&pair.tenant, lease, stamped).await.lines().map(str::to_owned).collect();
        if lines.len() == 3 {
            break lines;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(lines, read(&pair.host, lease, stamped).await.lines().collect::<Vec<_>>());
    let words: Vec<&str> = lines.iter().map(|line| line.rsplit(' ').next().expect("a word")).collect();
    assert_eq!(words, ["one", "two", "three"]);
    assert!(lines.is_sorted() && lines[0].contains("T") && lines[0].contains("Z one"), "{lines:?}");

    let third = lines[2].split(' ').next().and_then(|stamp| humantime::parse_rfc3339(stamp).ok());
    let third = third.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).expect("a stamp").as_millis();
    let third = Timestamp(i64::try_from(third).expect("it is not that late"));
    for node in [&pair.tenant, &pair.host] {
        let last = LogView { tail: Some(1), ..LogView::default() };
        assert_eq!(read(node, lease, last).await, "three\n");
        // It came a second after the others.
        let since = LogView { since: Some(third - Span(500)), ..LogView::default() };
        assert_eq!(read(node, lease, since).await, "three\n");
        let until = LogView { until: Some(third - Span(500)), ..LogView::default() };
        assert_eq!(read(node, lease, until).await, "one\ntwo\n");
        // Followed until a moment, it ends then, and the guest goes on.
        let soon = LogView { until: Some(now() + Span(1_500)), ..LogView::default() };
        let mut logs = node.logs(lease, LogWish { follow: true, view: soon, from: 0 }).await.expect("output");
        while logs.next().await.expect("a host that speaks").is_some() {}
        assert!(now() >= soon.until.expect("it was given"));
    }
    pair.tenant.stop(lease).await.expect("stopped");
    until(&pair.tenant, lease, Phase::is_ended).await;
    let last = LogView { tail: Some(2), ..LogView::default() };
    assert_eq!(read(&pair.tenant, lease, last).await, "two\nthree\n", "what has ended can still be read");
}

async fn read(node: &NodeHandle, lease: Id<Lease>, view: LogView) -> String {
    let mut logs = node.logs(lease, LogWish { view, ..LogWish::default() }).await.expect("output");
    let mut printed = Vec::new();
    while let Some(piece) = logs.next().await.expect("a host that speaks") {
        printed.extend(piece);
    }
    String::from_utf8(printed).expect("text")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    Timestamp(i64::try_from(since.as_millis()).expect("it is not that late"))
}

pub async fn both_sides_see_what_a_guest_takes() {
    let pair = Pair::meet().await;
    let script = "busybox dd if=/dev/zero of=/filled bs=1024 count=3072 2>/dev/null; trap exit TERM; sleep 300 & while :; do :; done";
    let lease = pair.run(&["sh", "-c", script]).await.expect("a lease");
    until(&pair.tenant, lease, Phase::is_live).await;
    for node in [&pair.tenant, &pair.host] {
        seen_by(node, lease).await;
    }
    // What it has taken is remembered.
    let remembered = async {
        loop {
            let stats = pair.tenant.stats(lease, false).await.expect("stats");
            if stats.samples.len() >= 2 {
                break stats.samples;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let samples = remembered.await;
    assert!(samples.is_sorted_by_key(|sample| sample.reading.at));
    assert!(samples.is_sorted_by_key(|sample| sample.reading.cpu));

    let processes = pair.tenant.top(lease).await.expect("processes");
    let commands: Vec<&str> = processes.listed.iter().map(|process| process.command.as_str()).collect();
    assert_eq!((processes.listed[0].pid, processes.listed[0].parent, processes.listed[0].user), (1, 0, 0));
    assert!(commands[0].starts_with("sh -c busybox dd"), "{commands:?}");
    assert!(commands.contains(&"sleep 300") && commands.len() == 2, "{commands:?}");
    assert!(processes.listed[0].cpu.0 > 0, "{processes:?}");
    let stranger =
        pair.host.top(lease).await.expect_err("a host looks at what a guest takes, not at what it does");
    assert_eq!(stranger.code(), "not_your_guest");

    let other = start(pair.dir.path(), "other").await;
    let address = pair.host.net().addresses().await.into_iter().next().expect("an address");
    other.net().dial(&address).await.expect("a connection");
    let head = model::message::StreamHead::Stats { lease, follow: true };
    let host = pair.host.identity().peer();
    assert!(other.net().open(host, head).await.is_err(), "nobody else is told");

    let mut live = pair.tenant.stats(lease, true).await.expect("stats");
    pair.tenant.stop(lease).await.expect("stopped");
    while live.next().await.expect("a host that speaks").is_some() {}
    until(&pair.tenant, lease, Phase::is_ended).await;
    for node in [&pair.tenant, &pair.host] {
        let mut over = node.stats(lease, true).await.expect("stats");
        assert!(over.samples.is_empty() && over.next().await.expect("no line that breaks").is_none());
    }
}

async fn seen_by(node: &NodeHandle, lease: Id<Lease>) {
    let mut stats = node.stats(lease, true).await.expect("stats");
    assert_eq!((stats.most.cpu_millis, stats.most.memory, stats.most.disk), (500, 32 * MIB, 8 * MIB));
    loop {
        let sample = stats.next().await.expect("a host that speaks").expect("a guest that runs");
        let reading = sample.reading;
        assert!(sample.cpu_millis < 1_000, "it has half a core: {sample:?}");
        // It may not have come so far yet.
        if sample.cpu_millis > 20 && reading.disk >= 3 * MIB && reading.pids == 2 {
            assert!((1..32 * MIB).contains(&reading.memory) && reading.disk < 5 * MIB, "{sample:?}");
            assert!(!reading.frozen && sample.receiving == 0, "{sample:?}");
            return;
        }
    }
}

pub async fn an_image_says_how_it_is_asked_to_end() {
    let pair = Pair::meet().await;
    busybox_that_ends_by(&pair.tenant, pair.dir.path(), Some("SIGUSR1".into())).await;
    let script = "trap 'echo asked; exit' USR1; trap 'echo told; exit' USR2; trap '' TERM; echo up; \
                  while :; do sleep 0.1; done";
    let ask = |signal| {
        let mut wish = rent(&["sh", "-c", script]);
        wish.options.stop_signal = signal;
        wish
    };
    // What the tenant says comes before what the image says.
    for (signal, said) in [(None, "asked\n"), (Some(12), "told\n")] {
        let lease = pair.tenant.rent(ask(signal)).await.expect("a lease");
        until(&pair.tenant, lease, Phase::is_live).await;
        while read(&pair.tenant, lease, LogView::default()).await.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        pair.tenant.stop(lease).await.expect("stopped");
        until(&pair.tenant, lease, Phase::is_ended).await;
        let last = LogView { tail: Some(1), ..LogView::default() };
        assert_eq!(read(&pair.tenant, lease, last).await, said);
    }
}
