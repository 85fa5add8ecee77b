//! Secrets: what a guest sees of them, and that nobody else on the machine does.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use model::Hidden;
use model::document::{Readers, SecretFile};
use sublet_machine::guest::{Exec, ExecSpec, GuestId, Restart, Secret, Settings, Tmpfs};

use crate::house::{House, all, script_in};

crate::truths![a_guest_finds_its_secrets_as_files_that_stay, a_secret_is_nowhere_but_in_its_file];

pub fn secret(name: &str, readers: Readers, value: &[u8]) -> Secret {
    Secret { file: SecretFile { name: name.into(), readers }, value: Hidden::new(value.to_vec()) }
}

/// Also when its program is begun again, and whatever else is mounted above them.
async fn a_guest_finds_its_secrets_as_files_that_stay(mut house: House) {
    let script = "cd /run/secrets; busybox stat -c '%n %a %u %g' .. . *; cat shared; busybox md5sum < db; \
                  busybox grep ' /run/secrets ' /proc/mounts | busybox cut -d' ' -f3,4; \
                  echo x 2>/dev/null > db || echo sealed; echo x 2>/dev/null > new || echo closed; \
                  busybox rm -f db 2>/dev/null || echo kept; exit 3";
    let mut spec = house.spec(script);
    spec.user = "1234:77".into();
    spec.secrets = vec![
        secret("db", Readers::User, b"pearl-Zq81\n\xFFmore"),
        secret("shared", Readers::All, b"for all\n"),
        secret("team", Readers::Group, &[7; SecretFile::LARGEST]),
    ];
    spec.run = Settings {
        restart: Restart::OnFailure(Some(1)),
        // As images have it whose root is only read.
        tmpfs: vec![Tmpfs { path: "/run".into(), size: 1 << 20 }],
        read_only: true,
        ..Settings::default()
    };
    house.guests.start(&spec).await.expect("the guest starts");
    let printed = house.printed(spec.id).await;
    assert_eq!(house.exit_code(spec.id).await, 3);
    let half = printed.len() / 2;
    assert_eq!(printed[..half], printed[half..], "each time the same");
    for fact in [
        ". 755 0 0\n",
        "db 400 1234 77\n",
        "shared 444 1234 77\n",
        "team 440 1234 77\n",
        "for all\n",
        "f668726dfd5aa2b5a7a06752a8ff71a9  -\n",
        "ramfs ro,nosuid,nodev,noexec",
        "sealed\nclosed\nkept\n",
    ] {
        assert!(printed.contains(fact), "{fact:?}: {printed}");
    }
    // Another user reads what all may, and nothing else.
    let mut spec = house.spec("sleep 60");
    spec.secrets = vec![secret("db", Readers::User, b"root's"), secret("shared", Readers::All, b"for all\n")];
    house.guests.start(&spec).await.expect("the guest starts");
    let script = "cd /run/secrets; cat shared; cat db 2>/dev/null || echo denied";
    let web = ExecSpec { user: Some("web".into()), ..script_in(script) };
    let mut exec = house.guests.exec(spec.id, &web).await.expect("it begins");
    assert_eq!(all(&mut exec.output).await, ("for all\ndenied\n".to_owned(), 0));
    house.guests.stop(spec.id, Duration::ZERO).await.expect("it stops");
}

/// Neither in a file of the node, nor in the memory of whoever has passed it on.
async fn a_secret_is_nowhere_but_in_its_file(house: House) {
    // Made now: this very program is the supervisor, and has in its own text whatever stands here.
    let mut value = [0; 24];
    getrandom::fill(&mut value).expect("chance");
    let value = hex::encode(value).into_bytes();
    let mut spec = house.spec("echo up; exec sleep 60");
    spec.secrets = vec![secret("db", Readers::User, &value)];
    house.guests.start(&spec).await.expect("the guest starts");
    house.printed_until(spec.id, "up").await;
    let supervisor = u32::try_from(house.supervisor(spec.id).as_raw_pid()).expect("a number");
    let processes = house.processes(spec.id);
    assert!(processes.len() >= 2, "the warden and the guest's program: {processes:?}");
    for process in processes.into_iter().chain([supervisor]) {
        assert!(
            !remembers(process, &value),
            "{process}: {:?}",
            fs::read_link(format!("/proc/{process}/exe"))
        );
    }
    assert_eq!(files_with(&house.dir_of_guests(), &value), [] as [String; 0]);
    // It was there all the time.
    let read = house.exec_output(spec.id, "cat /run/secrets/db").await;
    assert_eq!(read, (String::from_utf8(value.clone()).expect("digits"), 0));
    // And the search finds what there is to find.
    let (_exec, keeper) = keeper(&house, spec.id).await;
    assert!(remembers(keeper, &value));
    house.guests.stop(spec.id, Duration::ZERO).await.expect("it stops");
    assert_eq!(files_with(&house.dir_of_guests(), &value), [] as [String; 0]);
}

/// A shell in the guest that has the secret in a variable.
async fn keeper(house: &House, id: GuestId) -> (Exec, u32) {
    let before = house.processes(id);
    let exec = house.exec(id, "read kept < /run/secrets/db; echo up; while :; do sleep 60; done").await;
    loop {
        let shell = house.processes(id).into_iter().find(|process| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            !before.contains(process) && line.windows(4).any(|part| part == b"kept")
        });
        // It has read it before it sleeps.
        if let Some(shell) = shell.filter(|_| house.processes(id).len() > before.len() + 1) {
            return (exec, shell);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process has these bytes anywhere in its memory.
fn remembers(process: u32, bytes: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("its memory is mapped");
    let memory = File::open(format!("/proc/{process}/mem")).expect("its memory can be read");
    let parts = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with('r').then_some((number(from)?, number(to)?))
    });
    parts.into_iter().any(|(from, to)| {
        let mut held = vec![0; usize::try_from(to - from).expect("it fits")];
        // What belongs to the kernel cannot be read.
        memory.read_exact_at(&mut held, from).is_ok() && contains(&held, bytes)
    })
}

fn files_with(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), bytes));
        } else if kind.is_file() && contains(&fs::read(entry.path()).expect("it can be read"), bytes) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

fn contains(held: &[u8], bytes: &[u8]) -> bool {
    held.windows(bytes.len()).any(|part| part == bytes)
}
