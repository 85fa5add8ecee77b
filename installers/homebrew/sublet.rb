# Homebrew formula of the command line and the host without a screen, for a tap. Never run: macOS has not built Sublet yet.
# The release workflow fills in version and digest.
class Sublet < Formula
  desc "Share, barter and rent out spare computers"
  homepage "https://example.org/sublet"
  url "https://example.org/sublet/releases/0.1.0/sublet-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "Apache-2.0"

  depends_on "cmake" => :build
  depends_on "node" => :build
  depends_on "rust" => :build

  def install
    system "npm", "--prefix", "ui", "ci"
    system "npm", "--prefix", "ui", "run", "build"
    system "cargo", "install", *std_cargo_args(path: "crates/cli")
    generate_completions_from_executable(bin/"sublet", "completions")
    system bin/"sublet", "man", man1
  end

  # Guests run under Docker Engine or Podman there.
  service do
    run [opt_bin/"sublet", "host"]
    keep_alive successful_exit: false
    log_path var/"log/sublet.log"
    error_log_path var/"log/sublet.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/sublet --version")
    assert_match "no node runs", shell_output("#{bin}/sublet status --data #{testpath} 2>&1", 1)
  end
end
