#!/usr/bin/env bash
# How sample.sqlite.db was made: a small volume, formatted and filled through a mount of the reference client (juicefs on
# PATH; root, FUSE, Python, sqlite3). Not needed to use the sample.
set -e
if [ "$(hostname)" != sample-host ]; then exec unshare --uts --mount bash -c 'hostname sample-host; exec "$0" "$@"' "$0" "$@"; fi
out="$(cd "$(dirname "$0")" && pwd)/sample.sqlite.db"
work=$(mktemp -d)
mkdir -p /mnt/sample /srv/jfs
meta="sqlite3://$work/sample.db"
juicefs format "$meta" sample --storage file --bucket /srv/jfs/ --trash-days 7 --enable-acl
juicefs mount -d "$meta" /mnt/sample --no-usage-report --backup-meta 0 --enable-xattr --cache-dir "$work/cache" --log "$work/log" --metrics 127.0.0.1:0
cd /mnt/sample
mkdir -p documents/contracts photos/2025/lisbon photos/2026/kyoto music/jazz projects/website/assets
for name in lease insurance "power of attorney"; do echo "This is the $name." > "documents/contracts/$name.txt"; done
echo "# Notes" > documents/notes.md
for i in 01 02 03 04 05 06; do head -c $((90000 + 1000 * 10#$i)) /dev/urandom > "photos/2025/lisbon/img_$i.jpg"; done
for name in 金閣寺 嵐山 祇園; do head -c 120000 /dev/urandom > "photos/2026/kyoto/$name.jpg"; done
ln photos/2026/kyoto/金閣寺.jpg photos/favourite.jpg
python3 -c 'import os; os.setxattr("photos/favourite.jpg", "user.caption", b"Golden pavilion, morning")'
head -c 400000 /dev/urandom > music/jazz/take-five.flac
truncate -s 200M music/jazz/concert.wav
echo end | dd of=music/jazz/concert.wav bs=1 seek=150000000 conv=notrunc status=none
echo "<h1>Hello</h1>" > projects/website/index.html
head -c 20000 /dev/urandom > projects/website/assets/logo.png
ln -s website projects/current
chown -R 1000:1000 documents photos music projects
chmod 640 documents/contracts/*.txt
# u::rw-,u:1001:r--,g::r--,m::r--,o::---
python3 -c 'import os, struct
entries = [(1, 6, -1), (2, 4, 1001), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr("documents/contracts/lease.txt", "system.posix_acl_access", acl)'
mkfifo projects/queue
echo draft > documents/draft.md; rm documents/draft.md
cd /
juicefs umount /mnt/sample
sqlite3 "$work/sample.db" "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);" >/dev/null
install -m 644 "$work/sample.db" "$out"
rm -rf "$work" /srv/jfs/sample
rmdir /mnt/sample
