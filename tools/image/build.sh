#!/usr/bin/env bash
# Builds the Dockerfile's image on a Debian machine that has neither a Docker engine nor
# a container registry, and runs what is in it as the image's user:
#
#   tools/image/build.sh [FOLDER]
#
# With FOLDER, which must not exist yet, the image's file system stays there to be used:
#
#   chroot --userspec=65532:65532 FOLDER /etl serve
#
# buildah builds. The builder's image is a stand-in made here, under the Dockerfile's name:
# a shell (busybox, which is Alpine's too) and CA certificates, and this machine's Go
# toolchain mounted where the real image has one. Apart from FOLDER and the package that
# it may install the script leaves nothing behind: images, modules and compiled packages
# live in a temporary folder.
set -euo pipefail

fail() { echo "build the image: $*" >&2; exit 1; }
folder=${1:+$(realpath "$1")}
[ ! -e "$folder" ] || fail "$folder is there already: give a folder that is not"
[ "$(id -u)" = 0 ] || fail "without a Docker engine this needs root"
cd "$(dirname "$0")/../.."

cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/etl-stack}
mkdir -p "$cache"
work=$(mktemp -d "$cache/image.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT

# apt runs apt-get, a second time with fresh package lists if the machine's do not do.
export DEBIAN_FRONTEND=noninteractive
apt() {
	local get=(apt-get -qq -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root)
	"${get[@]}" "$@" >/dev/null 2>&1 || { "${get[@]}" update && "${get[@]}" "$@" >/dev/null; }
}

buildah() { command buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }

type -P buildah >/dev/null || apt install --yes --no-install-recommends buildah
builder=$(awk '$1 == "FROM" {print $2; exit}' Dockerfile)

mkdir -p "$work"/files/{bin,tmp,etc/ssl/certs}
cp /etc/ssl/certs/ca-certificates.crt "$work/files/etc/ssl/certs"
(cd "$work" && apt download busybox-static && dpkg-deb -x busybox-static*.deb busybox)
cp "$work/busybox/bin/busybox" "$work/files/bin/sh"
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/files" / >/dev/null
buildah config --env PATH=/usr/local/go/bin:/bin --env GOPATH=/go --env GOTOOLCHAIN=local "$container"
buildah commit --quiet --rm "$container" "$builder" >/dev/null

version=$(git describe --always --dirty 2>/dev/null || echo dev)
revision=$(git rev-parse HEAD 2>/dev/null || true)
begun=$SECONDS
buildah bud --isolation chroot --pull-never --volume "$(go env GOROOT):/usr/local/go:ro" \
	--build-arg GOPROXY="$(go env GOPROXY)" --build-arg VERSION="$version" --build-arg REVISION="$revision" --tag etl .
took=$((SECONDS - begun))

container=$(buildah from etl)
settings=$(buildah inspect --format '{{.OCIv1.Config.User}} {{index .OCIv1.Config.Entrypoint 0}} {{index .OCIv1.Config.Cmd 0}}' "$container")
read -r user program command <<<"$settings"
folder=${folder:-$work/image}
cp -a "$(buildah mount "$container")" "$folder"
size=$(du -sh "$folder" | cut -f1)
[ -s "$folder/etc/ssl/certs/ca-certificates.crt" ] || fail "the image has no CA certificates"

# The same user, program and file system that a container would have.
run=("$(command -v chroot)" --userspec="$user" --groups= "$folder" "$program")
said=$("${run[@]}" version)
[[ $said == "etl $version"[,\ ]* ]] || fail "etl version says \"$said\", want version $version"

# Without its servers (no name below .invalid exists) the service has to be alive, not
# ready, and gone when told. The image has no time zones but those in the binary.
env -i PORT=0 NODE_ENV=production TIMEZONE=Europe/Berlin JWT_KEY=etl MONGO_USER=etl MONGO_PASSWORD=etl \
	PRODUCT_SERVICE_MONGODB_URL=mongodb://mongo.invalid/product CART_DB_URL=postgresql://etl:etl@postgres.invalid/cart \
	RABBITMQ_ENDPOINT=amqp://etl:etl@rabbitmq.invalid \
	"${run[@]}" "$command" >"$work/log" 2>&1 &
service=$!
port=
until [ "$port" ]; do
	kill -0 $service 2>/dev/null || fail "etl $command has ended: $(cat "$work/log")"
	sleep 0.1
	port=$(sed -n 's/.*"address":"[^"]*:\([0-9]*\)".*/\1/p' "$work/log")
done
status() {
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	printf 'GET /api/etl/%s HTTP/1.0\r\n\r\n' "$1" >&3
	cut -d ' ' -f 2 <(head -n 1 <&3)
	exec 3>&-
}
[ "$(status live)" = 200 ] || fail "the service is not alive: $(cat "$work/log")"
[ "$(status ready)" = 503 ] || fail "the service is ready without its servers: $(cat "$work/log")"
! health=$(env -i PORT="$port" ETL_HOST=127.0.0.1 JWT_KEY=etl "${run[@]}" health 2>&1) || fail "etl health calls the service ready"
[[ $health == *waitingFor* ]] || fail "etl health says \"$health\""
kill -TERM $service
wait $service || fail "etl $command ended with code $?: $(cat "$work/log")"

echo "built in $took s: $size, user $user, $said; etl $command is alive without its servers and ends when told"
