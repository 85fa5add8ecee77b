//! `sublet peers`: who is connected.

use crate::Done;
use crate::desk::Desk;
use crate::show::{Table, party};
use api::shapes::Peer;
use clap::{Args, Subcommand};

/// What to do about peers.
#[derive(Args, Debug)]
pub struct PeersArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Meet the peer at an address.
    Add {
        /// A multiaddress, such as /ip4/192.0.2.7/udp/7390/quic-v1/p2p/12D3KooW..
        address: String,
    },
}

/// Lists peers, or meets one.
pub async fn run(desk: &Desk<'_>, args: PeersArgs) -> Done {
    if let Some(What::Add { address }) = args.what {
        let met = desk.client.dial(&address).await?;
        return desk.out.either(&met, || format!("met {}", met.peer_id)).map(|()| 0);
    }
    let peers = desk.client.peers().await?;
    let text = || {
        let mut table = Table::new(&["PEER", "WHO", ">ROUND TRIP", "PATH"]);
        for peer in &peers.peers {
            let round_trip = peer.round_trip.map(|seconds| format!("{} ms", seconds.0.0)).unwrap_or_default();
            table.row([
                peer.peer_id.clone(),
                peer.party.as_ref().map(party).unwrap_or_default(),
                round_trip,
                path(peer),
            ]);
        }
        table.text(|head| desk.out.head(head))
    };
    desk.out.either(&peers, text).map(|()| 0)
}

/// The best way to it.
fn path(peer: &Peer) -> String {
    let Some(path) = peer.paths.first() else { return String::new() };
    let more =
        if peer.paths.len() > 1 { format!(" and {} more", peer.paths.len() - 1) } else { String::new() };
    format!("{}{}{more}", path.address, if path.relayed { " (relayed)" } else { "" })
}
