# Homebrew cask of the desktop app, for a tap. Never run: macOS has not built Sublet yet. The release workflow fills in
# version and digests.
cask "sublet-desktop" do
  arch arm: "aarch64", intel: "x86_64"

  version "0.1.0"
  sha256 arm:   "0000000000000000000000000000000000000000000000000000000000000000",
         intel: "0000000000000000000000000000000000000000000000000000000000000000"

  url "https://example.org/sublet/releases/#{version}/Sublet_#{version}_#{arch}.dmg"
  name "Sublet"
  desc "Share, barter and rent out spare computers"
  homepage "https://example.org/sublet"

  depends_on macos: ">= :monterey"

  app "Sublet.app"

  # Not the data directory: it holds keys, and what is owed.
  zap trash: [
    "~/Library/Caches/org.sublet.desktop",
    "~/Library/WebKit/org.sublet.desktop",
  ]
end
