//! What this computer has: read from the system, nothing measured, nothing that names the owner (no host name, no
//! serial number, no address).

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// A computer's parts. Sizes are bytes; what cannot be told is nought or empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Name and version of the operating system: `Linux (Debian GNU/Linux 12)`.
    pub os: String,
    /// Processor architecture: `x86_64`.
    pub arch: String,
    /// Version of the kernel.
    pub kernel: String,
    /// What the processor calls itself.
    pub cpu_model: String,
    /// Cores that do the work.
    pub cores_physical: u32,
    /// Cores that the system shows: twice as many where two threads share one.
    pub cores_logical: u32,
    /// Cores that this process may use: fewer where it is confined itself.
    pub cores_usable: u32,
    /// Memory that this process can see, with the limits of a container around it.
    pub memory_total: u64,
    /// Of this, what programs can get without swapping.
    pub memory_free: u64,
    /// Size of the file system that holds the data directory.
    pub disk_total: u64,
    /// Of this, what an ordinary user may still write.
    pub disk_free: u64,
    /// Processors for graphics and computing.
    pub gpus: Vec<Gpu>,
    /// Whether it can run from a battery: a laptop.
    pub battery: bool,
}

/// A graphics processor that programs can compute on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// `NVIDIA GeForce RTX 4070`, or the numbers of its maker and model where nothing here knows its name.
    pub name: String,
}

/// Looks around. `data_dir` is the directory, perhaps still to be made, whose disk guests would use.
pub fn inventory(data_dir: &Path) -> Inventory {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok();
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    let logical = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
    let usable =
        std::thread::available_parallelism().map_or(logical, |n| u32::try_from(n.get()).unwrap_or(logical));
    let (memory_total, memory_free) = system.as_ref().map_or((0, 0), memory);
    let (disk_total, disk_free) = disk(data_dir);
    Inventory {
        os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
        arch: System::cpu_arch(),
        kernel: System::kernel_version().unwrap_or_default(),
        cpu_model: cpus.first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default(),
        cores_physical: System::physical_core_count()
            .map_or(logical, |n| u32::try_from(n).unwrap_or(logical)),
        cores_logical: logical,
        cores_usable: usable,
        memory_total,
        memory_free,
        disk_total,
        disk_free,
        gpus: gpus(Path::new("/")),
        battery: has_battery(Path::new("/")),
    }
}

fn memory(system: &System) -> (u64, u64) {
    let (total, free) = (system.total_memory(), system.available_memory());
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory < total => (limits.total_memory, limits.free_memory.min(free)),
        Some(_) | None => (total, free),
    }
}

/// Total and free bytes of the file system that holds this directory, or will.
fn disk(path: &Path) -> (u64, u64) {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(there)
        .map_or((0, 0), |stat| (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

/// NVIDIA's driver lists its own; all others have a render node, which a screen alone has not.
fn gpus(root: &Path) -> Vec<Gpu> {
    let mut gpus = Vec::new();
    for card in sorted(&root.join("proc/driver/nvidia/gpus")) {
        let information = fs::read_to_string(card.join("information")).unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("Model:"));
        gpus.push(Gpu { name: model.map_or("NVIDIA", str::trim).to_owned() });
    }
    for node in sorted(&root.join("sys/class/drm")) {
        let is_render_node =
            node.file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD"));
        let read = |file: &str| fs::read_to_string(node.join("device").join(file)).unwrap_or_default();
        let (vendor, device) = (read("vendor"), read("device"));
        let (vendor, device) =
            (vendor.trim().trim_start_matches("0x"), device.trim().trim_start_matches("0x"));
        const NVIDIA: &str = "10de";
        let is_listed = vendor == NVIDIA && !gpus.is_empty();
        if is_render_node && !vendor.is_empty() && !is_listed {
            let name = pci_name(root, vendor, device).unwrap_or_else(|| format!("PCI {vendor}:{device}"));
            gpus.push(Gpu { name });
        }
    }
    gpus
}

/// Names by the list that Linux distributions keep for `lspci`.
fn pci_name(root: &Path, vendor: &str, device: &str) -> Option<String> {
    let places = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
    // It is not all UTF-8 everywhere.
    let list = places.iter().find_map(|place| fs::read(root.join(place)).ok())?;
    let list = String::from_utf8_lossy(&list);
    let mut lines = list.lines();
    let maker = lines.find_map(|line| line.strip_prefix(vendor)?.strip_prefix("  "))?;
    let model = lines
        .take_while(|line| line.starts_with('\t') || line.starts_with('#'))
        .find_map(|line| line.strip_prefix('\t')?.strip_prefix(device)?.strip_prefix("  "))?;
    Some(format!("{maker} {model}"))
}

fn has_battery(root: &Path) -> bool {
    sorted(&root.join("sys/class/power_supply")).iter().any(|supply| {
        let read = |file: &str| fs::read_to_string(supply.join(file)).unwrap_or_default();
        // A wireless mouse has a battery too; its scope is "Device".
        read("type").trim() == "Battery" && read("scope").trim() != "Device"
    })
}

/// What is in a directory, in one order; nothing if there is no such directory.
fn sorted(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, content).expect("written");
    }

    #[test]
    fn this_machine_has_the_usual_parts() {
        let inventory = inventory(Path::new("/no/such/directory/yet"));
        assert!(inventory.cores_logical >= inventory.cores_physical && inventory.cores_physical >= 1);
        assert!(inventory.cores_usable >= 1);
        assert!(inventory.memory_total >= inventory.memory_free && inventory.memory_free > 0);
        assert!(inventory.disk_total >= inventory.disk_free && inventory.disk_total > 0);
        assert!(!inventory.arch.is_empty() && !inventory.kernel.is_empty() && !inventory.os.is_empty());
        assert!(!inventory.cpu_model.is_empty());
    }

    #[test]
    fn graphics_cards_are_found_by_their_names() {
        let root = tempfile::tempdir().expect("a directory for the test");
        let root = root.path();
        assert_eq!(gpus(root), []);
        write(
            root,
            "usr/share/misc/pci.ids",
            "1002  AMD\n\t73bf  Navi 21\n\t\t1002 0e3a  RX 6800\n8086  Intel\n\t46a6  Iris Xe\n",
        );
        write(root, "sys/class/drm/renderD128/device/vendor", "0x8086\n");
        write(root, "sys/class/drm/renderD128/device/device", "0x46a6\n");
        write(root, "sys/class/drm/card1/device/vendor", "0x1234\n");
        write(root, "sys/class/drm/renderD129/device/vendor", "0x1002\n");
        write(root, "sys/class/drm/renderD129/device/device", "0xffff\n");
        write(root, "sys/class/drm/renderD130/device/vendor", "0x10de\n");
        write(root, "sys/class/drm/renderD130/device/device", "0x2786\n");
        write(
            root,
            "proc/driver/nvidia/gpus/0000:01:00.0/information",
            "Model: \t\t NVIDIA GeForce RTX 4070\nIRQ: 5\n",
        );
        let names: Vec<String> = gpus(root).into_iter().map(|gpu| gpu.name).collect();
        assert_eq!(names, ["NVIDIA GeForce RTX 4070", "Intel Iris Xe", "PCI 1002:ffff"]);
    }

    #[test]
    fn a_mouse_is_no_laptop() {
        let root = tempfile::tempdir().expect("a directory for the test");
        write(root.path(), "sys/class/power_supply/AC/type", "Mains\n");
        write(root.path(), "sys/class/power_supply/mouse/type", "Battery\n");
        write(root.path(), "sys/class/power_supply/mouse/scope", "Device\n");
        assert!(!has_battery(root.path()));
        write(root.path(), "sys/class/power_supply/BAT0/type", "Battery\n");
        assert!(has_battery(root.path()));
    }
}
