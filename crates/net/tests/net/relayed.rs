//! Two nodes that cannot reach each other meet through a third that stands in for them.

use crate::house::{self, Node, Over, head};
use model::message::Response;
use net::{Config, NetEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_only_a_relay_reach_each_other_through_it() {
    for over in Over::BOTH {
        let relay = house::start(Config { relay_server: true, ..house::config(1, over) }).await;
        let address = relay.address().await;
        // These two listen nowhere, so there is no direct way, now or later.
        let hidden = |seed| Config {
            listen: Vec::new(),
            bootstrap: vec![address.clone()],
            ..house::config(seed, over)
        };
        let mut host = house::start(hidden(2)).await;
        let mut tenant = house::start(hidden(3)).await;
        tenant.up(relay.net.me()).await;
        let addresses = circuit(&mut host).await;

        tenant.net.know(host.net.me(), addresses);
        let opening = tokio::spawn({
            let (net, to) = (tenant.net.clone(), host.net.me());
            async move { net.open(to, head(80)).await }
        });
        let mut there = host.stream().await.2.accept().await.unwrap();
        let mut here = opening.await.unwrap().unwrap();
        // libp2p's own limit would cut this at 128 KiB.
        let sent = vec![7; 4 << 20];
        let (written, read) = tokio::join!(
            async {
                here.write_all(&sent).await?;
                here.shutdown().await
            },
            async {
                let mut read = Vec::new();
                there.read_to_end(&mut read).await.map(|_| read)
            }
        );
        written.unwrap();
        assert!(read.unwrap() == sent, "{over:?}");
        let seen = tenant.net.peers().await;
        let path = seen.iter().find(|seen| seen.peer == host.net.me()).unwrap();
        assert!(path.paths.iter().all(|path| path.relayed), "{path:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_pair_finds_its_direct_way() {
    for over in Over::BOTH {
        let relay = house::start(Config { relay_server: true, ..house::config(1, over) }).await;
        let bootstrap = vec![relay.address().await];
        let mut host = house::start(Config { bootstrap: bootstrap.clone(), ..house::config(2, over) }).await;
        let mut tenant = house::start(Config { bootstrap, ..house::config(3, over) }).await;
        let (host_key, tenant_key) = (host.net.me(), tenant.net.me());
        tenant.up(relay.net.me()).await;
        let told = circuit(&mut host).await;
        circuit(&mut tenant).await;
        let relayed = told.into_iter().filter(|address| address.contains("/p2p-circuit")).collect();
        tenant.net.know(host_key, relayed);
        tenant.net.keep(host_key).await.unwrap();
        host.up(tenant_key).await;
        house::until("a direct path", async || {
            let seen = tenant.net.peers().await;
            seen.iter().any(|seen| seen.peer == host_key && seen.paths.iter().any(|path| !path.relayed))
        })
        .await;
        // What is opened now goes the direct way, and answers.
        let _serving = host.answer_everyone();
        assert_eq!(tenant.net.request(host_key, house::question()).await.unwrap(), Response::Done);
    }
}

/// Waits until a node can tell an address that leads through a relay.
async fn circuit(node: &mut Node) -> Vec<String> {
    node.wait("a place at the relay", |event| match event {
        NetEvent::Addresses(addresses)
            if addresses.iter().any(|address| address.contains("/p2p-circuit")) =>
        {
            Ok(addresses)
        }
        other => Err(other),
    })
    .await
}
