#!/usr/bin/env bash
# Print "; did you mean 'X'?" for the known name nearest to a mistyped one, or "." if none is near; needs only awk.
# did_you_mean.sh NAME KNOWN...
name=$1
shift
printf '%s\n' "$@" | NAME=$name awk '
function distance(a, b,    i, j, n, m, cost, row, up, left) {
    n = length(a); m = length(b)
    for (j = 0; j <= m; j++) row[j] = j
    for (i = 1; i <= n; i++) {
        left = row[0]; row[0] = i
        for (j = 1; j <= m; j++) {
            up = row[j]
            cost = left + (substr(a, i, 1) != substr(b, j, 1))
            row[j] = cost < up + 1 ? cost : up + 1
            if (row[j - 1] + 1 < row[j]) row[j] = row[j - 1] + 1
            left = up
        }
    }
    return row[m]
}
BEGIN { given = tolower(ENVIRON["NAME"]); best = int(length(given) / 3) + 1 }
given != "" && $0 != "" { d = distance(given, tolower($0)); if (d < best) { best = d; found = $0 } }
END { if (found != "") printf "; did you mean \047%s\047?", found; else printf "." }'
