//! A disk small enough to fill.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use q_testkit::oracle;
use tempfile::TempDir;

/// A file system of its own: ext4 in a file where the machine has loop devices, else in memory. Unmounted when dropped.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// A disk of `mebibytes`, or `None` after saying that nothing can be mounted here.
    pub fn mount(mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (image, place) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&place).expect("a folder to mount on");
        let made = fs::File::create(&image).and_then(|file| file.set_len(mebibytes << 20));
        made.expect("a sparse file");
        let run = |program: &str, arguments: &[&str]| {
            let outcome = Command::new(program).args(arguments).arg(&place).output();
            outcome.is_ok_and(|output| output.status.success())
        };
        let image_name = image.to_string_lossy().into_owned();
        let formatted = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
        let is_on_loop = formatted.is_ok_and(|output| output.status.success())
            && run("mount", &["-o", "loop,errors=remount-ro", &image_name]);
        let size = format!("size={mebibytes}m");
        if is_on_loop || run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"]) {
            return Some(Self { folder });
        }
        oracle::skip("the right to mount a small disk (run as root)");
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Takes all room that is left.
    ///
    /// # Panics
    /// When something else than a full disk stops it.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).expect("a file");
        // First in large pieces, then to the last byte.
        for piece in [1 << 20, 4 << 10, 1] {
            let bytes = vec![0x5a_u8; piece];
            let full = loop {
                if let Err(error) = filler.write_all(&bytes) {
                    break error;
                }
            };
            assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When there was none taken.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("the filler goes away");
        // A journal gives blocks back with its next commit.
        let _ = Command::new("sync").arg("--file-system").arg(self.path()).output();
    }

    /// Has the kernel find an error in the file system, as a dying disk does: from now on nothing is written to it, also
    /// not to files that are open. False where that cannot be had, after saying so.
    #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
    pub fn turn_read_only(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let place = self.path().display().to_string();
        let device = mounts.lines().find_map(|line| {
            let (device, rest) = line.split_once(' ')?;
            (rest.split(' ').next()? == place).then(|| device.trim_start_matches("/dev/").to_owned())
        });
        let switch = device.map(|device| format!("/sys/fs/ext4/{device}/trigger_fs_error"));
        let is_done = switch.is_some_and(|switch| fs::write(switch, "1").is_ok());
        if !is_done {
            eprintln!("left out: no file system here can be made read-only while it is used");
        }
        is_done
    }

    /// Checks and mounts it again, as an operator would once nothing uses it any more.
    ///
    /// # Panics
    /// When it stays broken.
    pub fn repair(&self) {
        let (image, place) = (self.folder.path().join("image"), self.path());
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let ended = Command::new(program).args(arguments).output().expect("a program of the system");
            ended.status.code()
        };
        assert_eq!(run("umount", &[place.as_os_str()]), Some(0), "something still uses the disk");
        // 1: errors were corrected.
        let checked = run("e2fsck", &["-fy".as_ref(), image.as_os_str()]);
        assert!(checked.is_some_and(|code| code < 2), "e2fsck ended with {checked:?}");
        let mounted = run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), place.as_os_str()]);
        assert_eq!(mounted, Some(0), "the disk is mounted again");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn unmount(place: &Path) {
    // A process that was just killed may still hold it: the lazy way waits for it.
    let _ = Command::new("umount").arg("--lazy").arg(place).output();
}
