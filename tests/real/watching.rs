//! What a tenant, and the owner of the machine, see of a guest from the command line.

use crate::house::{House, Said, shell};
use api::shapes::{LeaseState, Query};

/// The lines of what was printed.
fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_is_watched_listed_and_waited_for() {
    let house = House::open().await;
    let mut wish = shell("echo one; echo two; trap exit TERM; sleep 300 & wait");
    wish.options.hostname = Some("web".to_owned());
    wish.options.labels = [("team".to_owned(), "blue".to_owned())].into();
    let lease = house.tenant.client.rent(&wish).await.unwrap();
    house.tenant.reaches(&lease, LeaseState::Running).await;
    let tenant = |words: &[&str]| house.tenant.sublet(words);
    let id = lease.id.as_str();

    while tenant(&["logs", id]).out != "one\ntwo\n" {}
    assert_eq!(lines(&tenant(&["logs", "--tail", "1", id])), ["two"]);
    assert_eq!(lines(&tenant(&["logs", "--tail", "all", "--since", "1h", id])), ["one", "two"]);
    assert!(lines(&tenant(&["logs", "--until", "1h", id])).is_empty());
    assert!(lines(&tenant(&["logs", "--since", "2099-01-01T00:00:00Z", id])).is_empty());
    let stamped = tenant(&["logs", "-t", "-n", "1", id]);
    assert!(stamped.out.ends_with("Z two\n") && stamped.out.starts_with("20"), "{}", stamped.out);
    assert_eq!(tenant(&["logs", "--since", "soon", id]).code, Some(2));
    assert_eq!(tenant(&["logs", "--tail", "few", id]).code, Some(2));

    for node in [&house.tenant, &house.host] {
        let said = node.sublet(&["stats", "--no-stream"]);
        let told = lines(&said);
        assert!(told.len() == 2 && told[1].starts_with(&id[..8]), "{}", said.out);
        assert!(told[1].contains("64 MiB") && told[1].contains("8.0 MiB"), "{}", said.out);
        let said = node.sublet(&["--json", "stats", "--no-stream", &id[..8]]);
        assert!(
            said.out.contains(r#""frozen":false"#) && said.out.contains(r#""cpu_millis":500"#),
            "{}",
            said.out
        );
    }
    let said = tenant(&["top", id]);
    assert!(said.out.contains("sh -c echo one") && said.out.contains("sleep 300"), "{}", said.out);
    house.host.sublet(&["top", id]).is_refusal(1, &["its tenant's"]);

    let wanted = ["state=running", "image=busybox", "host=host", "name=web", "label=team=blue"];
    let filters: Vec<&str> = wanted.iter().flat_map(|filter| ["--filter", filter]).collect();
    assert_eq!(lines(&tenant(&[&["ps", "-q"], filters.as_slice()].concat())), [id]);
    assert!(lines(&tenant(&["ps", "-q", "--filter", "label=team=red"])).is_empty());
    assert_eq!(lines(&house.host.sublet(&["ps", "-q", "-f", "tenant=tenant"])), [id]);
    let format = "{{.standing.state}} {{.workload.reference}}";
    assert!(lines(&tenant(&["ps", "--format", format]))[0].starts_with("running busybox"));
    assert_eq!(tenant(&["ps", "--filter", "colour=red"]).code, Some(2));
    assert_eq!(tenant(&["ps", "--format", "{{.colour}}"]).code, Some(2));

    let small = Query { cpu_millis: 100, memory_bytes: 1 << 20, disk_bytes: 1 << 20, ..Query::default() };
    for (skip, left) in [(0, 1), (1, 0), (7, 0)] {
        let page = house.tenant.client.search(&Query { skip, ..small.clone() }).await.unwrap();
        assert_eq!((page.matches.len(), page.suits), (left, 1), "but {skip}");
    }
    let offer = house.tenant.client.offers(None).await.unwrap().offers.remove(0).id;
    let said = tenant(&["inspect", id, "busybox", &offer]);
    for word in [r#""standing""#, r#""entrypoint""#, r#""arch""#] {
        assert!(said.code == Some(0) && said.out.contains(word), "{word}: {}{}", said.out, said.err);
    }
    assert_eq!(lines(&tenant(&["inspect", "--format", "{{.side}}", &id[..8]])), ["tenant"]);
    assert_eq!(
        lines(&house.host.sublet(&["inspect", "--format", "{{.published.id}}", &offer])),
        [offer.as_str()]
    );
    tenant(&["inspect", "nothing-like-it"]).is_refusal(1, &["nothing-like-it"]);
    tenant(&["inspect", "--type", "volume", id]).is_refusal(1, &["a volume"]);

    let stopped = tenant(&["stop", id]);
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);
    // Asked by TERM, its shell ends by `exit` in the trap, with the code of what it waited for.
    let waited = tenant(&["wait", id]);
    assert_eq!((waited.code, waited.out.as_str()), (Some(143), "143\n"), "{}", waited.err);
    assert_eq!(lines(&tenant(&["ps", "-q", "--filter", "state=ended"])), [id]);
    tenant(&["stats", id]).is_refusal(1, &[]);

    let killed = house
        .tenant
        .client
        .rent(&shell("sleep 1; kill -9 $$; busybox sh -c 'kill -9 $$'; exit $?"))
        .await
        .unwrap();
    let seven = house.rent("sleep 1; exit 7").await;
    let said = tenant(&["wait", &killed.id, &seven.id]);
    assert_eq!((said.code, said.out.as_str()), (Some(7), "137\n7\n"), "{}", said.err);
}
