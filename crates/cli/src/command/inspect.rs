//! `sublet inspect`: the whole of a lease, an offer, an image or a volume, as the API has it.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::template::Template;
use api::ClientError;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// What to look at.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Only things of this kind.
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,
    /// Print these fields instead, such as '{{.id}} {{.standing.state}}'.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Template>,
    /// Leases, offers and images by the first digits of their ids, images and volumes by their names.
    #[arg(required = true, value_name = "LEASE|OFFER|IMAGE|VOLUME")]
    things: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A `Lease` of the API.
    Lease,
    /// A `Listing`; what this computer lends itself: a `MyOffer`.
    Offer,
    /// An `Inspection`.
    Image,
    /// A `RentedVolume`, or a `HostedVolume`.
    Volume,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Lease => "a lease",
            Kind::Offer => "an offer",
            Kind::Image => "an image",
            Kind::Volume => "a volume",
        })
    }
}

/// Prints the documents of things.
pub async fn run(desk: &Desk<'_>, args: &InspectArgs) -> Done {
    let mut documents = Vec::new();
    for name in &args.things {
        documents.push(the_one(desk, name, args.kind).await?);
    }
    if let Some(template) = &args.format {
        for document in &documents {
            desk.out.line(template.fill(document)?)?;
        }
        return Ok(0);
    }
    let text = serde_json::to_string_pretty(&documents).map_err(std::io::Error::from)?;
    desk.out.either(&documents, || text).map(|()| 0)
}

async fn the_one(desk: &Desk<'_>, name: &str, kind: Option<Kind>) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for each in [Kind::Lease, Kind::Volume, Kind::Image, Kind::Offer] {
        if kind.is_none_or(|kind| kind == each) {
            found.extend(of_kind(desk, name, each).await?.into_iter().map(|document| (each, document)));
        }
    }
    match found.len() {
        0 => {
            let what = kind.map_or_else(
                || "a lease, an offer, an image or a volume".to_owned(),
                |kind| kind.to_string(),
            );
            Err(Failure::refused("unknown", format!("`{name}` is not {what} that this node knows")).hint(
                "`sublet ps --all`, `sublet market --all`, `sublet image ls` and `sublet volume ls` list them.",
            ))
        }
        1 => Ok(found.remove(0).1),
        _ => {
            let kinds: Vec<String> = found.iter().map(|(kind, _)| kind.to_string()).collect();
            Err(Failure::misused(format!("`{name}` is {}", kinds.join(", and ")))
                .hint("Choose by --type, or write more digits of its id."))
        }
    }
}

async fn of_kind(desk: &Desk<'_>, name: &str, kind: Kind) -> Result<Vec<Value>, Failure> {
    let client = &desk.client;
    match kind {
        Kind::Lease => known(client.lease(name).await),
        Kind::Image => known(client.image(name).await),
        Kind::Volume => {
            let volumes = client.volumes().await?;
            let rented = volumes.rented.iter().filter(|volume| volume.volume.name == name).map(document);
            let hosted = volumes.hosted.iter().filter(|volume| volume.state.name == name).map(document);
            rented.chain(hosted).collect()
        }
        Kind::Offer => offers(desk, name).await,
    }
}

async fn offers(desk: &Desk<'_>, digits: &str) -> Result<Vec<Value>, Failure> {
    let digits = digits.to_ascii_lowercase();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let mine = desk.client.offer().await?;
    let is_mine = mine.published.as_ref().is_some_and(|published| published.id.starts_with(&digits));
    let mut found: Vec<Value> = is_mine.then(|| document(&mine)).into_iter().collect::<Result<_, _>>()?;
    let mut after = None;
    loop {
        let page = desk.client.offers(after.as_deref()).await?;
        for offer in page.offers.iter().filter(|offer| offer.id.starts_with(&digits)) {
            found.push(document(offer)?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn known<T: Serialize>(answer: Result<T, ClientError>) -> Result<Vec<Value>, Failure> {
    match answer {
        Ok(thing) => Ok(vec![document(&thing)?]),
        Err(ClientError::Problem(problem)) if matches!(problem.status, 404 | 422) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn document(thing: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(thing).map_err(|error| std::io::Error::from(error).into())
}
