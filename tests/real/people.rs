//! People who come to know each other, and offers for those who do.

use crate::house::{House, eventually, shell, terms};
use api::shapes::{Audience, Regard, ShareWish};

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_joins_by_a_link_and_rents_what_is_lent_to_friends() {
    let mut house = House::lending(ShareWish { audience: Some(Audience::Known), ..terms() }).await;
    let refused = house.tenant.sublet(&["run", "busybox", "true"]);
    refused.is_refusal(1, &["people whom its owner knows", "sublet join"]);

    let made = house.host.sublet(&["invite", "--plain"]);
    let link = made.out.trim().to_owned();
    assert!(link.starts_with("sublet://invite/"), "{}{}", made.out, made.err);
    house.tenant.sublet(&["join", "sublet://invite/nonsense"]).is_refusal(2, &["damaged"]);
    house.host.sublet(&["join", &link]).is_refusal(1, &["this is you"]);

    // The host is away, and the tenant dies in between: the answer is heard all the same.
    house.host.kill();
    let joined = house.tenant.sublet(&["join", &link]);
    assert_eq!(joined.code, Some(0), "{}", joined.err);
    house.tenant.kill();
    house.tenant.start().await;
    house.host.start().await;
    house.meet().await;
    eventually("the host to know the tenant", async || {
        let people = house.host.client.people().await.unwrap().people;
        people.iter().any(|person| person.regard == Some(Regard::Known))
    })
    .await;
    let ran = house.tenant.sublet(&["run", "--disk", "8M", "busybox", "echo", "hello, friend"]);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "hello, friend"), "{}", ran.err);

    let blocked = house.host.sublet(&["people", "block", "tenant", "--note", "too loud"]);
    assert!(blocked.out.contains("blocked") && blocked.out.contains("too loud"), "{}", blocked.err);
    let again = house.tenant.client.rent(&shell("exit 0")).await.unwrap_err();
    assert!(again.to_string().contains("not to you"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_that_was_paid_is_gone_on_both_sides() {
    let house = House::open().await;
    let ran = house.tenant.sublet(&["run", "--disk", "8M", "busybox", "sleep", "2"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let owed = async |node: &crate::house::Node| {
        let people = node.client.people().await.unwrap().people;
        people.iter().flat_map(|person| &person.balances).map(|balance| balance.micros).sum::<i64>()
    };
    let before = owed(&house.host).await;
    assert!(before > 0 && owed(&house.tenant).await == -before);

    house.tenant.sublet(&["settle", "paid", "host", "900 EUR"]).is_refusal(1, &["is owed"]);
    house.host.sublet(&["settle", "paid", "tenant"]).is_refusal(1, &["nothing is owed"]);
    let paid = house.tenant.sublet(&["settle", "paid", "host", "--reference", "January"]);
    assert_eq!(paid.code, Some(0), "{}", paid.err);
    eventually("the host to hear of it", async || {
        !house.host.client.payments().await.unwrap().payments.is_empty()
    })
    .await;
    let claim = house.host.client.payments().await.unwrap().payments.remove(0);
    assert_eq!(
        (claim.reference.as_str(), owed(&house.host).await),
        ("January", before),
        "a word changes nothing"
    );
    let received = house.host.sublet(&["settle", "received", &claim.id[..8]]);
    assert!(received.out.contains("booked by both"), "{}{}", received.out, received.err);
    eventually("both to have booked it", async || {
        owed(&house.tenant).await == 0 && owed(&house.host).await == 0
    })
    .await;
    for node in [&house.host, &house.tenant] {
        assert!(node.client.record().await.unwrap().records > 0);
        let balances = node.client.ledger().await.unwrap().balances;
        assert_eq!(balances.iter().map(|balance| balance.amount.micros).sum::<i64>(), 0);
    }
    let csv = house.host.sublet(&["ledger", "--export", "csv"]);
    assert!(csv.out.starts_with("date,") && csv.out.contains(",settled,"), "{}{}", csv.out, csv.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_counts_for_the_next_start_and_a_name_at_once() {
    let mut house = House::empty();
    house.host.start().await;
    house.host.sublet(&["settings", "set", "--listen", "nowhere"]).is_refusal(2, &["nowhere"]);
    let set = house.host.sublet(&["settings", "set", "--name", "Ada", "--relay", "true"]);
    assert!(set.out.contains("Ada") && set.out.contains("when the node starts again"), "{}", set.err);
    assert_eq!(house.host.client.status().await.unwrap().me.name.as_deref(), Some("Ada"));
    house.host.kill();
    house.host.start().await;
    let settings = house.host.client.settings().await.unwrap();
    assert!(settings.relay && settings.name == "Ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_moves_to_a_new_computer_by_24_words() {
    let mut house = House::empty();
    house.host.start().await;
    let before = house.host.client.identity().await.unwrap();
    house.host.sublet(&["identity", "forget"]).is_refusal(1, &["not confirmed"]);
    let words = house.host.client.words(None).await.unwrap();
    let typed = words.words.join(" ");
    house.host.typed(&["identity", "lock"], "short").is_refusal(2, &["8 characters"]);
    let locked = house.host.typed(&["identity", "lock"], "correct horse");
    assert!(locked.out.contains("locked"), "{}{}", locked.out, locked.err);
    house.host.kill();
    house.host.start().await;
    assert_eq!(
        house.host.client.identity().await.unwrap().person,
        before.person,
        "it starts without its key"
    );
    house.host.typed(&["identity", "unlock"], "wrong horse").is_refusal(2, &["not the passphrase"]);
    assert_eq!(house.host.typed(&["identity", "confirm"], &typed).code, Some(0));
    assert_eq!(house.host.sublet(&["identity", "forget"]).code, Some(0));

    // On the other computer, before its node has ever run.
    let wrong = typed.replacen(&words.words[0], "zoo", 1);
    house.tenant.typed(&["identity", "restore"], &wrong).is_refusal(2, &["24 words"]);
    let restored = house.tenant.typed(&["identity", "restore"], &typed);
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    house.tenant.start().await;
    let after = house.tenant.client.identity().await.unwrap();
    assert_eq!((&after.person, after.device == before.device), (&before.person, false));
    let log = std::fs::read_to_string(house.tenant.data.with_extension("log")).unwrap();
    assert!(!log.contains(&words.words[23]) || words.words[23].len() < 4, "no word of a key in a log");
}
