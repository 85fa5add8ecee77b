//! `sublet volume`: disks that outlive their guests.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::show::{Table, bytes, fields, moment, short, spinner, time};
use api::Told;
use api::shapes::{RentedVolume, SnapshotWish, Volume, VolumeCopied, VolumeExport, VolumeImport, VolumeSeen};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with volumes.
#[derive(Args, Debug)]
pub struct VolumeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List volumes: ours on other machines, and others' on this one. `sublet run -v` makes one.
    Ls,
    /// Show what the host says of a volume.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Remove a volume for good, or one of its snapshots.
    Rm {
        #[command(flatten)]
        which: Which,
        /// Only this snapshot of it.
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<String>,
    },
    /// Keep a volume as it is now.
    Snapshot {
        #[command(flatten)]
        which: Which,
        /// What to call it.
        snapshot: String,
    },
    /// Copy the files of a volume into a tar archive here.
    Export {
        #[command(flatten)]
        which: Which,
        /// The archive.
        file: PathBuf,
        /// As they were in this snapshot.
        #[arg(long, value_name = "SNAPSHOT")]
        snapshot: Option<String>,
    },
    /// Put the files of a tar archive into a volume, over those that are there.
    Import {
        #[command(flatten)]
        which: Which,
        /// The archive: plain, gzip or zstd.
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Which {
    /// The volume's name.
    volume: String,
    /// The lease that has or had it, where several machines have one of this name.
    #[arg(long, value_name = "LEASE")]
    lease: Option<String>,
}

/// Lists, shows, copies, keeps, removes.
pub async fn run(desk: &Desk<'_>, args: VolumeArgs) -> Done {
    match args.what {
        What::Ls => list(desk).await,
        What::Show { which } => {
            let lease = find(desk, &which).await?.lease;
            tell(desk, &desk.client.volume(&lease, &which.volume).await?)
        }
        What::Rm { which, snapshot } => {
            let lease = find(desk, &which).await?.lease;
            match &snapshot {
                Some(name) => desk.client.remove_snapshot(&lease, &which.volume, name).await?,
                None => desk.client.remove_volume(&lease, &which.volume).await?,
            }
            let gone =
                snapshot.map_or_else(|| which.volume.clone(), |name| format!("{}@{name}", which.volume));
            desk.out.either(&serde_json::json!({ "removed": gone }), || format!("{gone} removed")).map(|()| 0)
        }
        What::Snapshot { which, snapshot } => {
            let lease = find(desk, &which).await?.lease;
            let wish = SnapshotWish { name: snapshot };
            tell(desk, &desk.client.snapshot_volume(&lease, &which.volume, &wish).await?)
        }
        What::Export { which, file, snapshot } => {
            let lease = find(desk, &which).await?.lease;
            let wish = VolumeExport { path: std::path::absolute(file)?, snapshot };
            copied(desk, desk.client.export_volume(&lease, &which.volume, &wish).await?).await
        }
        What::Import { which, file } => {
            let lease = find(desk, &which).await?.lease;
            let wish = VolumeImport { path: std::path::absolute(file)? };
            copied(desk, desk.client.import_volume(&lease, &which.volume, &wish).await?).await
        }
    }
}

async fn list(desk: &Desk<'_>) -> Done {
    let volumes = desk.client.volumes().await?;
    let text = || {
        let mut table = Table::new(&["VOLUME", ">SIZE", "WHERE", "STAYS UNTIL", "LEASE"]);
        for rented in &volumes.rented {
            let until =
                rented.until.as_ref().map_or_else(|| "its lease is over".to_owned(), |until| moment(*until));
            let place = format!("at {}", short(&rented.host));
            table.row([
                rented.volume.name.clone(),
                bytes(rented.volume.size_bytes),
                place,
                until,
                short(&rented.lease),
            ]);
        }
        for hosted in &volumes.hosted {
            let until =
                hosted.until.as_ref().map_or_else(|| "its lease is over".to_owned(), |until| moment(*until));
            let place = format!("here, of {}", short(&hosted.person));
            table.row([
                hosted.state.name.clone(),
                bytes(hosted.state.size_bytes),
                place,
                until,
                String::new(),
            ]);
        }
        table.text(|head| desk.out.head(head))
    };
    desk.out.either(&volumes, text).map(|()| 0)
}

async fn find(desk: &Desk<'_>, which: &Which) -> Result<RentedVolume, Failure> {
    let volumes = desk.client.volumes().await?.rented;
    let fits = |rented: &&RentedVolume| {
        rented.volume.name == which.volume
            && which.lease.as_ref().is_none_or(|lease| rented.lease.starts_with(lease.as_str()))
    };
    let found: Vec<&RentedVolume> = volumes.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::misused(format!("there is no volume `{}` of yours", which.volume))
            .hint("`sublet volume ls` lists them; `sublet run -v NAME:/PATH,size=1G` makes one.")),
        _ => Err(Failure::misused(format!(
            "{} machines have a volume `{}` of yours",
            found.len(),
            which.volume
        ))
        .hint("Name the lease: --lease LEASE; `sublet volume ls` shows them.")),
    }
}

fn tell(desk: &Desk<'_>, seen: &VolumeSeen) -> Done {
    let text = || {
        fields([
            ("volume", seen.name.clone()),
            ("size", bytes(seen.size_bytes)),
            ("encrypted", if seen.encrypted { "yes" } else { "no" }.to_owned()),
            ("in use", if seen.in_use { "yes" } else { "no" }.to_owned()),
            ("snapshots", seen.snapshots.join(" ")),
        ])
    };
    desk.out.either(seen, text).map(|()| 0)
}

async fn copied(desk: &Desk<'_>, work: Told<VolumeCopied, VolumeCopied>) -> Done {
    let mut interrupt = Interrupt::listen()?;
    let waiting = spinner("copying");
    let done = work
        .done(|progress: VolumeCopied| waiting.set_message(format!("copying: {}", bytes(progress.bytes))));
    let done = tokio::select! {
        done = done => Some(done),
        () = interrupt.asked() => None,
    };
    waiting.finish_and_clear();
    let Some(copied) = done.transpose()? else { return Ok(INTERRUPTED) };
    desk.out.either(&copied, || format!("{} copied", bytes(copied.bytes))).map(|()| 0)
}

/// `db:/var/lib/db,size=1G`, with `ro` after another colon, `keep=7d`, `snapshots=2`, `encrypted`.
pub fn volume(text: &str) -> Result<Volume, String> {
    let wrong = || {
        format!("`{text}` is no volume: write NAME:/PATH[:ro],size=1G[,keep=7d][,snapshots=2][,encrypted]")
    };
    let mut parts = text.split(',');
    let mut place = parts.next().unwrap_or_default().split(':');
    let (Some(name), Some(path)) = (place.next(), place.next()) else { return Err(wrong()) };
    let read_only = match (place.next(), place.next()) {
        (None, _) => false,
        (Some("ro"), None) => true,
        (Some("rw"), None) => false,
        (Some(_), _) => return Err(wrong()),
    };
    let mut volume = Volume {
        name: name.to_owned(),
        path: path.to_owned(),
        size_bytes: 0,
        read_only,
        encrypted: false,
        snapshots: 0,
        keep: api::shapes::Seconds::default(),
    };
    for part in parts {
        match part.split_once('=') {
            Some(("size", size)) => volume.size_bytes = crate::parse::size(size)?,
            Some(("keep", keep)) => volume.keep = crate::parse::time(keep)?,
            Some(("snapshots", count)) => volume.snapshots = count.parse().map_err(|_| wrong())?,
            None if part == "encrypted" => volume.encrypted = true,
            Some(_) | None => return Err(wrong()),
        }
    }
    if volume.size_bytes == 0 {
        return Err(format!("the volume {name} needs a size, such as {text},size=1G"));
    }
    Ok(volume)
}

/// What volumes cost beside an hour's price, in words; none where nothing is kept.
pub fn kept(volumes: &[Volume]) -> Option<String> {
    let kept: Vec<String> = volumes
        .iter()
        .filter(|volume| volume.keep.0.0 > 0)
        .map(|volume| format!("{} for {}", volume.name, time(volume.keep)))
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_written_in_one_word() {
        let db = volume("db:/var/lib/db:ro,size=1G,keep=7d,snapshots=2,encrypted").unwrap();
        assert_eq!((db.name.as_str(), db.path.as_str(), db.size_bytes), ("db", "/var/lib/db", 1 << 30));
        assert!(db.read_only && db.encrypted && db.snapshots == 2 && db.keep.0.0 == 7 * 24 * 3_600_000);
        assert!(!volume("db:/x,size=8M").unwrap().encrypted);
        for bad in [
            "db",
            "db:/x",
            "db:/x:rx,size=1G",
            "db:/x,size=1G,colour=red",
            "db:/x,size=much",
            "db:/x:ro:ro,size=1G",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }
}
