//! Which GPUs a machine has, from the files of its kernel and of its drivers: no vendor's tool is asked, and none needs to be there.
//!
//! A GPU is a PCI device of class *3D controller* (0x0302); one of class *VGA* (0x0300) or *other display* (0x0380) of a vendor of GPUs,
//! since what else has these classes draws the console of a server; or what is no PCI device and has a render node in `/sys/class/drm`.
//! What it is called is said by its driver (NVIDIA in `/proc/driver/nvidia`, AMD in `product_name`), else by `pci.ids`, else by its numbers.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// PCI vendors whose display controllers compute.
const VENDORS: [(&str, &str); 3] = [("10de", "NVIDIA"), ("1002", "AMD"), ("8086", "Intel")];
/// No machine has more.
const MOST: usize = 1024;

/// The models of all GPUs below `root`, which is `/` but in tests; in the order of their addresses.
pub(super) fn models(root: &Path) -> Vec<String> {
    let mut all: Vec<(PathBuf, String)> = Vec::new();
    let mut names = None;
    for device in entries(&root.join("sys/bus/pci/devices")) {
        if let Some(model) = pci(root, &device, &mut names) {
            all.push((device, model));
        }
    }
    for node in entries(&root.join("sys/class/drm")) {
        let device = node.join("device");
        let is_render = name(&node).starts_with("renderD");
        // What PCI has was looked at above, and left out there if it is no GPU.
        if !is_render || device.join("vendor").exists() || is_virtual(&device) {
            continue;
        }
        all.push((device.clone(), platform(&device)));
    }
    all.truncate(MOST);
    all.into_iter().map(|(_, model)| word(&model)).collect()
}

fn pci(root: &Path, device: &Path, names: &mut Option<String>) -> Option<String> {
    let class = number(device, "class")?;
    let (vendor, id) = (number(device, "vendor")?, number(device, "device")?);
    let maker = VENDORS.iter().find(|(number, _)| *number == vendor);
    match (class.get(..4)?, maker) {
        ("0302", _) | ("0300" | "0380", Some(_)) => {}
        _ => return None,
    }
    let told = nvidia(root, name(device)).or_else(|| line(&device.join("product_name")));
    let model = told.or_else(|| {
        let names = names.get_or_insert_with(|| pci_ids(root));
        named(names, &vendor, &id)
    });
    let model = model.unwrap_or_else(|| format!("{vendor}:{id}"));
    Some(match maker {
        Some((_, maker)) if !model.to_lowercase().contains(&maker.to_lowercase()) => {
            format!("{maker} {model}")
        }
        _ => model,
    })
}

/// `Model:` of a driver's file about the device at an address.
fn nvidia(root: &Path, address: &str) -> Option<String> {
    let text = read_to_string(root.join("proc/driver/nvidia/gpus").join(address).join("information")).ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim();
    (!model.is_empty()).then(|| model.into())
}

/// The list of names that distributions bring along, if it is there.
fn pci_ids(root: &Path) -> String {
    let places = ["usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"];
    places.iter().find_map(|place| read_to_string(root.join(place)).ok()).unwrap_or_default()
}

/// The name of a device in `pci.ids`: vendors stand at the beginning of a line, their devices behind a tab.
fn named(ids: &str, vendor: &str, device: &str) -> Option<String> {
    let mut lines = ids.lines().skip_while(|line| !line.starts_with(vendor));
    lines.next()?;
    let of_vendor = lines.take_while(|line| line.starts_with(['\t', '#']) || line.is_empty());
    let mut devices = of_vendor.filter_map(|line| line.strip_prefix('\t')?.split_once(' '));
    let text = devices.find(|(id, _)| *id == device)?.1.trim();
    // `GA100 [A100 PCIe 40GB]`: what people call it stands in brackets.
    let called = text.rsplit_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
    Some(called.unwrap_or(text).into())
}

/// Of a GPU that is no PCI device: as the device tree or its driver calls it.
fn platform(device: &Path) -> String {
    let uevent = read_to_string(device.join("uevent")).unwrap_or_default();
    let of = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)).map(String::from);
    of("OF_COMPATIBLE_0=").or_else(|| of("DRIVER=")).unwrap_or_else(|| "gpu".into())
}

/// Render nodes that compute nothing: of the kernel's own test drivers.
fn is_virtual(device: &Path) -> bool {
    let uevent = read_to_string(device.join("uevent")).unwrap_or_default();
    !device.exists() || uevent.lines().any(|line| matches!(line, "DRIVER=vgem" | "DRIVER=vkms"))
}

/// A hexadecimal number of a file of a device, without its `0x`.
fn number(device: &Path, file: &str) -> Option<String> {
    line(&device.join(file))?.strip_prefix("0x").map(str::to_lowercase)
}

fn line(path: &Path) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.into())
}

/// One word, so that it can stand in a path.
fn word(model: &str) -> String {
    model
        .split(|c: char| c.is_whitespace() || c == '/')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    struct Made(tempfile::TempDir);

    impl Made {
        fn new() -> Made {
            Made(tempfile::tempdir().unwrap())
        }

        fn file(&self, path: &str, text: &str) -> &Made {
            let path = self.0.path().join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
            self
        }

        fn pci(&self, address: &str, class: &str, vendor: &str, device: &str) -> &Made {
            let dir = format!("sys/bus/pci/devices/{address}");
            self.file(&format!("{dir}/class"), class).file(&format!("{dir}/vendor"), vendor);
            self.file(&format!("{dir}/device"), device)
        }

        fn models(&self) -> Vec<String> {
            models(self.0.path())
        }
    }

    #[test]
    fn a_machine_without_gpus_has_none() {
        assert!(Made::new().models().is_empty());
        let server = Made::new();
        // A bridge, a network card, the VGA of a board's console, and what an emulator draws on.
        server.pci("0000:00:00.0", "0x060000\n", "0x8086\n", "0x1237\n");
        server.pci("0000:00:03.0", "0x020000\n", "0x1af4\n", "0x1000\n");
        server.pci("0000:02:00.0", "0x030000\n", "0x1a03\n", "0x2000\n");
        server.pci("0000:00:02.0", "0x030000\n", "0x1234\n", "0x1111\n");
        assert!(server.models().is_empty());
    }

    #[test]
    fn drivers_say_what_gpus_are_called() {
        let made = Made::new();
        made.pci("0000:17:00.0", "0x030200\n", "0x10de\n", "0x20b0\n").file(
            "proc/driver/nvidia/gpus/0000:17:00.0/information",
            "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 42\nGPU UUID: \t GPU-1\n",
        );
        made.pci("0000:c1:00.0", "0x038000\n", "0x1002\n", "0x740c\n")
            .file("sys/bus/pci/devices/0000:c1:00.0/product_name", "Instinct MI250X\n");
        assert_eq!(made.models(), ["NVIDIA-A100-SXM4-40GB", "AMD-Instinct-MI250X"]);
    }

    #[test]
    fn without_a_driver_the_list_of_names_is_asked_and_else_numbers_are_shown() {
        let made = Made::new();
        made.pci("0000:01:00.0", "0x030000\n", "0x10de\n", "0x2204\n");
        assert_eq!(made.models(), ["NVIDIA-10de:2204"]);
        made.file(
            "usr/share/misc/pci.ids",
            "# list\n1002  AMD/ATI\n\t2204  Another\n10de  NVIDIA Corporation\n\t2203  GA102 [RTX 3090 Ti]\n\t2204  GA102 [GeForce RTX 3090]\n\t\t1043 87b3  sub\n8086  Intel\n",
        );
        assert_eq!(made.models(), ["NVIDIA-GeForce-RTX-3090"]);
    }

    #[test]
    fn what_is_no_pci_device_is_found_by_its_render_node() {
        let made = Made::new();
        made.file("sys/class/drm/renderD128/device/uevent", "DRIVER=v3d\nOF_COMPATIBLE_0=brcm,2712-v3d\n");
        made.file("sys/class/drm/renderD129/device/uevent", "DRIVER=vgem\n");
        made.file("sys/class/drm/card0/device/uevent", "DRIVER=v3d\n");
        assert_eq!(made.models(), ["brcm,2712-v3d"]);
    }
}
