#!/bin/sh
# Builds every *_stress.cc of this folder with the pure C++ part of the structures under a
# sanitizer, and runs them.
#
#   native/stress/build_and_run.sh thread 10     data races (TSan), 10 seconds each
#   native/stress/build_and_run.sh address 10    memory and undefined behaviour (ASan, UBSan)
#
# The programs print their seed; a third argument repeats one.
set -eu

sanitizer=${1:-thread}
seconds=${2:-10}
seed=${3:-$(date +%s)}
root=$(cd "$(dirname "$0")/../.." && pwd)
out="$root/build/stress-$sanitizer"
compiler=${CXX:-g++}

case "$sanitizer" in
  thread) flags="-fsanitize=thread" ;;
  address) flags="-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
  *) echo "usage: $0 thread|address [seconds] [seed]" >&2 && exit 2 ;;
esac

# Everything but the bindings, which alone need Node's headers, and the supervisor, which has a main
# of its own.
sources=$(find "$root/native" -mindepth 2 -name '*.cc' ! -name '*binding*.cc' ! -path '*/stress/*' \
  ! -path '*/supervisor/*')
includes="-I$root/native -I$root/node_modules/xxhash-addon/xxHash"
mkdir -p "$out"

objects=""
stale=""
for source in $sources; do
  object="$out/$(echo "${source#"$root"/native/}" | tr / _).o"
  if [ ! -e "$object" ] || [ -n "$(find "$root/native" -newer "$object" -name '*.[hc]*')" ]; then
    stale="$stale$source $object
"
  fi
  objects="$objects $object"
done

# One compiler a core: compiling takes most of the time of this script.
compile="$compiler -std=c++20 -O1 -g -fno-exceptions -fno-rtti -Wall -Wextra -Werror \
  -fno-omit-frame-pointer $flags $includes"
if [ -n "$stale" ]; then
  cores=$(getconf _NPROCESSORS_ONLN)
  printf '%s' "$stale" | xargs -P "$cores" -L 1 sh -c "$compile -c \$0 -o \$1"
fi

for source in "$root"/native/stress/*_stress.cc; do
  program="$out/$(basename "$source" .cc)"
  # shellcheck disable=SC2086
  $compile "$source" $objects -pthread -o "$program"
  echo "$(basename "$program") ($sanitizer, $seconds s, seed $seed)"
  "$program" "$seconds" "$seed"
done
