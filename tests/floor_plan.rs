//! The plan of crates/README.md, held against what `cargo metadata` says is built: arrows go down, what is foreign has
//! one room, and no source file is forgotten.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Each crate and what of ours it may use, drawn from the bottom up.
const PLAN: &[(&str, &[&str])] = &[
    ("sublet-model", &[]),
    ("sublet-engine", &["sublet-model"]),
    ("sublet-store", &["sublet-model"]),
    ("sublet-net", &["sublet-model"]),
    ("sublet-machine", &["sublet-model"]),
    ("sublet-node", &["sublet-engine", "sublet-machine", "sublet-model", "sublet-net", "sublet-store"]),
    ("sublet-api", &["sublet-node"]),
    ("sublet-cli", &["sublet-api"]),
    ("sublet-desktop", &["sublet-api"]),
    // Not rooms of the house: the guest of the demo, and the tools.
    ("sublet-render", &[]),
    ("xtask", &[]),
];

/// The tests may go everywhere.
const TESTS: &str = "sublet-tests";

/// What only one crate may name.
const ROOMS: &[(&str, &str)] = &[
    ("axum", "sublet-api"),
    ("libp2p", "sublet-net"),
    ("rusqlite", "sublet-store"),
    ("tauri", "sublet-desktop"),
];

/// All that the deciding crates may use from outside: nothing here has a clock, chance, a disk or a thread.
const PURE: &[(&str, &[&str])] = &[
    (
        "sublet-model",
        &[
            "blake3",
            "ed25519-dalek",
            "hex",
            "serde",
            "serde_bytes",
            "serde_ipld_dagcbor",
            "thiserror",
            "zeroize",
        ],
    ),
    // jiff without `std` is a calendar and no clock: the weekday schedule of an owner follows the zones of the earth.
    ("sublet-engine", &["jiff", "serde", "thiserror"]),
];

/// Below these lie no sources of ours.
const NOT_OURS: &[&str] = &["target", "node_modules", "dist", "gen", "fuzz"];

/// One crate names another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    only_tests: bool,
}

fn arrow(from: &str, to: &str) -> Arrow {
    Arrow { from: from.to_owned(), to: to.to_owned(), only_tests: false }
}

fn workspace() -> Result<Metadata, cargo_metadata::Error> {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
}

/// Every dependency, of every kind and platform.
fn arrows(workspace: &Metadata) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for package in &workspace.packages {
        for dependency in &package.dependencies {
            let only_tests = dependency.kind == DependencyKind::Development;
            arrows.push(Arrow { only_tests, ..arrow(&package.name, &dependency.name) });
        }
    }
    arrows
}

/// What is wrong with the arrows, a sentence each.
fn wrong(arrows: &[Arrow]) -> Vec<String> {
    arrows.iter().filter(|arrow| arrow.from != TESTS).filter_map(wrong_with).collect()
}

fn wrong_with(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, .. } = arrow;
    let Some(ours) = found(PLAN, from) else {
        return Some(format!("{from} stands nowhere in the plan"));
    };
    if to == TESTS || found(PLAN, to).is_some() {
        return (!ours.contains(&to.as_str())).then(|| format!("{from} -> {to} is not drawn in the plan"));
    }
    if let Some((_, room)) = ROOMS.iter().find(|(foreign, room)| foreign == to && room != from) {
        return Some(format!("{from} uses {to}, which only {room} may"));
    }
    let allowed = found(PURE, from)?;
    let pure = arrow.only_tests || allowed.contains(&to.as_str());
    (!pure).then(|| format!("{from} decides and may not use {to}"))
}

fn found<'a>(list: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    list.iter().find(|(listed, _)| *listed == name).map(|(_, names)| *names)
}

#[test]
fn every_arrow_is_drawn() -> Result<(), Box<dyn Error>> {
    let arrows = arrows(&workspace()?);
    assert!(arrows.contains(&arrow("sublet-node", "sublet-engine")), "the arrows were read");
    assert_eq!(wrong(&arrows), Vec::<String>::new());
    Ok(())
}

#[test]
fn every_crate_has_a_place() -> Result<(), Box<dyn Error>> {
    let workspace = workspace()?;
    let there: BTreeSet<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let drawn: BTreeSet<&str> = PLAN.iter().map(|(name, _)| *name).chain([TESTS]).collect();
    assert_eq!(there, drawn);
    Ok(())
}

#[test]
fn a_wrong_arrow_would_be_seen() {
    let said = |from, to| wrong(&[arrow(from, to)]);
    assert_eq!(
        said("sublet-model", "sublet-engine"),
        ["sublet-model -> sublet-engine is not drawn in the plan"]
    );
    assert_eq!(
        said("sublet-engine", "sublet-store"),
        ["sublet-engine -> sublet-store is not drawn in the plan"]
    );
    assert_eq!(said("sublet-cli", "sublet-node"), ["sublet-cli -> sublet-node is not drawn in the plan"]);
    assert_eq!(said("sublet-cli", "sublet-tests"), ["sublet-cli -> sublet-tests is not drawn in the plan"]);
    assert_eq!(said("sublet-extra", "serde"), ["sublet-extra stands nowhere in the plan"]);
    assert_eq!(said("sublet-node", "rusqlite"), ["sublet-node uses rusqlite, which only sublet-store may"]);
    assert_eq!(said("sublet-engine", "tokio"), ["sublet-engine decides and may not use tokio"]);
    let only_tests = Arrow { only_tests: true, ..arrow("sublet-engine", "proptest") };
    assert_eq!(
        wrong(&[only_tests, arrow("sublet-node", "tokio"), arrow(TESTS, "sublet-cli")]),
        Vec::<String>::new()
    );
}

#[test]
fn no_source_file_is_forgotten() -> Result<(), Box<dyn Error>> {
    let workspace = workspace()?;
    let root = workspace.workspace_root.as_std_path();
    let mut built = BTreeSet::new();
    for target in workspace.packages.iter().flat_map(|package| &package.targets) {
        follow(target.src_path.as_std_path(), Modules::Beside, &mut built)?;
    }
    let mut there = BTreeSet::new();
    collect(root, &mut there)?;
    let forgotten: Vec<&Path> =
        there.difference(&built).filter_map(|file| file.strip_prefix(root).ok()).collect();
    assert!(forgotten.is_empty(), "part of no target: {forgotten:?}");
    Ok(())
}

#[test]
fn a_forgotten_file_would_be_seen() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    fs::create_dir(folder.path().join("market"))?;
    write("lib.rs", "mod market;\n#[path = \"elsewhere.rs\"]\nmod named;\n// mod forgotten;\n")?;
    write("market.rs", "pub(crate) mod price;\n")?;
    write("market/price.rs", "")?;
    write("elsewhere.rs", "")?;
    write("forgotten.rs", "")?;

    let (mut built, mut there) = (BTreeSet::new(), BTreeSet::new());
    follow(&folder.path().join("lib.rs"), Modules::Beside, &mut built)?;
    collect(folder.path(), &mut there)?;
    let forgotten: Vec<_> = there.difference(&built).collect();
    assert_eq!(forgotten, [&folder.path().canonicalize()?.join("forgotten.rs")]);
    Ok(())
}

/// Where a file's modules lie: beside it (lib.rs, main.rs, mod.rs, a test's root), or in a folder of its name.
#[derive(Clone, Copy)]
enum Modules {
    Beside,
    Below,
}

/// Adds `file` and the modules that it declares to `built`.
fn follow(file: &Path, kept: Modules, built: &mut BTreeSet<PathBuf>) -> Result<(), Box<dyn Error>> {
    let file = file.canonicalize()?;
    let beside = file.parent().ok_or("a source file lies in a folder")?.to_owned();
    let modules = match kept {
        Modules::Beside => beside.clone(),
        Modules::Below => file.with_extension(""),
    };
    let text = fs::read_to_string(&file)?;
    if !built.insert(file) {
        return Ok(());
    }
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(named) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            path = Some(beside.join(named));
        } else if let Some(name) = module_declared(line) {
            let (flat, deep) = (modules.join(name).with_extension("rs"), modules.join(name).join("mod.rs"));
            match path.take() {
                Some(named) => follow(&named, Modules::Beside, built)?,
                None if flat.exists() => follow(&flat, Modules::Below, built)?,
                None => follow(&deep, Modules::Beside, built)?,
            }
        }
    }
    Ok(())
}

/// `price` of `pub(crate) mod price;`.
fn module_declared(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let visibility = before.trim();
    let declares = visibility.is_empty() || (visibility.starts_with("pub") && !visibility.contains(' '));
    (declares && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

fn collect(folder: &Path, there: &mut BTreeSet<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let skipped = name.starts_with('.') || NOT_OURS.contains(&name.as_ref());
        if entry.file_type()?.is_dir() && !skipped {
            collect(&path, there)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            there.insert(path.canonicalize()?);
        }
    }
    Ok(())
}
