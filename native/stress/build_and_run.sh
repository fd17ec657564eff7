#!/bin/sh
# Builds every *_stress.cc of this folder with the pure C++ part of the structures under a
# sanitizer, and runs them.
#
#   native/stress/build_and_run.sh thread 10     data races (TSan), 10 seconds each
#   native/stress/build_and_run.sh address 10    memory and undefined behaviour (ASan, UBSan)
#   native/stress/build_and_run.sh address 0     builds them only
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

is_stale() { [ ! -e "$1" ] || [ -n "$(find "$root/native" -newer "$1" -name '*.[hc]*')" ]; }

objects=""
stale=""
for source in $sources; do
  object="$out/$(echo "${source#"$root"/native/}" | tr / _).o"
  if is_stale "$object"; then
    stale="$stale$source $object
"
  fi
  objects="$objects $object"
done

# One compiler a core: compiling takes most of the time of this script. Lines of words: the source
# and what is made of it.
compile="$compiler -std=c++20 -O1 -g -fno-exceptions -fno-rtti -Wall -Wextra -Werror \
  -fno-omit-frame-pointer $flags $includes"
each() { xargs -P "$(getconf _NPROCESSORS_ONLN)" -L 1 sh -c "$1"; }
if [ -n "$stale" ]; then
  printf '%s' "$stale" | each "$compile -c \$0 -o \$1"
fi

programs=""
stale=""
for source in "$root"/native/stress/*_stress.cc; do
  program="$out/$(basename "$source" .cc)"
  if is_stale "$program"; then
    stale="$stale$source $program
"
  fi
  programs="$programs $program"
done
if [ -n "$stale" ]; then
  printf '%s' "$stale" | each "$compile \$0 $objects -pthread -o \$1"
fi
[ "$seconds" -eq 0 ] && exit 0

for program in $programs; do
  echo "$(basename "$program") ($sanitizer, $seconds s, seed $seed)"
  "$program" "$seconds" "$seed"
done
