#!/bin/sh
# A compiler for arm64 whose programs run here: arm64_compiler.sh PYTHON cc|c++ "QEMU ..." ARGUMENT...
# The compiler is Zig's, of that Python; what it links becomes a script that starts the program under QEMU.
python=$1 language=$2 qemu=$3 object= out= before=
shift 3
for word; do
    shift
    case $word in
    -fsyntax-only) # Zig looks for an object all the same
        unused=$(mktemp)
        trap 'rm -f "$unused"' EXIT
        set -- "$@" -c -o "$unused"
        object=1
        ;;
    -c | -shared | -E | -M | -MM) object=1 && set -- "$@" "$word" ;;
    *)
        [ "$before" = -o ] && out=$word
        set -- "$@" "$word"
        ;;
    esac
    before=$word
done
"$python" -m ziglang "$language" -target aarch64-linux-gnu.2.17 "$@" || exit
[ "$object" ] || [ -z "$out" ] && exit 0 # no program
out=$(realpath "$out")
mv "$out" "$out.arm64"
printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$out.arm64" >"$out"
chmod +x "$out"
