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
