#!/bin/sh
# Draws the tray's icons in every size, for light panels and dark ones. Needs rsvg-convert (Debian: librsvg2-bin).
set -eu
cd "$(dirname "$0")/tray"
style=$(mktemp)
trap 'rm -f "$style"' EXIT
for panel in light dark; do
  # A rim in the panel's own colour: where the guess of its colour was wrong, the house is seen all the same.
  case $panel in
    light) house='#23282d' rim='#ffffff' ;;
    dark) house='#f4f6f7' rim='#14181b' ;;
  esac
  echo "svg{color:$house} .rim{fill:none;stroke:$rim;stroke-opacity:.35;stroke-width:2.5}" > "$style"
  for state in off sharing guests paused attention; do
    for size in 16 22 24 32 48; do
      rsvg-convert --stylesheet "$style" --width $size --height $size --output "$state-$panel-$size.png" "$state.svg"
    done
  done
done
