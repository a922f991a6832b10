package git

import "strings"

// glob is a compiled wildcard. The time of a match is at most proportional to the
// product of the lengths of pattern and text.
type glob struct {
	// prefix is the literal text before the first wildcard. Most patterns have no
	// wildcard.
	prefix string
	tokens []token
	fold   bool
	// never is set if the pattern is malformed and matches nothing.
	never bool
}

type tokenKind uint8

const (
	tokenByte  tokenKind = iota // this byte
	tokenAny                    // one byte, but no slash
	tokenClass                  // one byte of a set, but no slash
	tokenStar                   // anything without a slash
	tokenDirs                   // nothing, or anything that ends with a slash
	tokenDeep                   // anything
)

type token struct {
	kind tokenKind
	b    byte
	set  *byteSet
}

type byteSet [256]bool

// special are the bytes that end a pattern's literal prefix.
const special = `*?[\`

// compileGlob compiles a wildcard for whole paths, in which "**" crosses slashes, or
// for a single name.
func compileGlob(text string, paths, fold bool) glob {
	n := strings.IndexAny(text, special)
	if n < 0 {
		n = len(text)
	}
	// git compiles the text after the prefix by itself: "a**/b" is "a" followed
	// by "**/b".
	return compileRest(text[:n], text[n:], true, paths, fold)
}

// compileWildcard compiles a wildcard that git matches against whole paths, such as
// those in its configuration.
func compileWildcard(text string, fold bool) glob {
	n := strings.IndexAny(text, special)
	if n < 0 {
		n = len(text)
	}
	return compileRest(text[:n], text[n:], n == 0 || text[n-1] == '/', true, fold)
}

func compileRest(prefix, text string, atStart, paths, fold bool) glob {
	g := glob{fold: fold, prefix: prefix}
	for i := 0; i < len(text); {
		t := token{kind: tokenByte, b: text[i]}
		size := 1
		switch text[i] {
		case '?':
			t.kind = tokenAny
		case '*':
			size = len(text[i:]) - len(strings.TrimLeft(text[i:], "*"))
			t.kind, size = star(text[i+size:], size, paths, atStart)
		case '[':
			t.kind = tokenClass
			t.set, size = class(text[i:], fold)
		case '\\':
			if size = 2; i+1 < len(text) {
				t.b = text[i+1]
				// git does not fold escaped characters.
				g.never = g.never || fold && 'A' <= t.b && t.b <= 'Z'
			} else {
				size = 0
			}
		default:
			t.b = folded(t.b, fold)
		}
		if size == 0 {
			g.never = true
			return g
		}
		g.tokens = append(g.tokens, t)
		i += size
		atStart = text[i-1] == '/' && t.kind != tokenClass
	}
	return g
}

// star returns the kind and length of a run of stars. rest is the pattern after it.
func star(rest string, stars int, paths, atStart bool) (tokenKind, int) {
	switch {
	case !paths || stars == 1 || !atStart:
		return tokenStar, stars
	case rest == "" || strings.HasPrefix(rest, `\/`):
		return tokenDeep, stars
	case rest[0] == '/':
		return tokenDirs, stars + 1
	}
	return tokenStar, stars
}

// class parses a bracket expression and returns its length, 0 if it is malformed.
func class(text string, fold bool) (*byteSet, int) {
	set := new(byteSet)
	i := 1
	negated := i < len(text) && (text[i] == '!' || text[i] == '^')
	if negated {
		i++
	}
	// low is the possible start of a range, which a range or a named class cannot
	// be.
	low := -1
	for first := true; ; first = false {
		if i >= len(text) {
			return nil, 0
		}
		c := text[i]
		if c == ']' && !first {
			break
		}
		switch {
		case c == '\\':
			if i++; i >= len(text) {
				return nil, 0
			}
			set[text[i]] = true
			low = int(text[i])
		case c == '-' && low > 0 && i+1 < len(text) && text[i+1] != ']':
			if i++; text[i] == '\\' {
				if i++; i >= len(text) {
					return nil, 0
				}
			}
			set.add(low, int(text[i]), fold)
			low = -1
		case c == '[' && strings.HasPrefix(text[i:], "[:"):
			end := strings.IndexByte(text[i+2:], ']')
			if end < 0 {
				return nil, 0
			}
			name, ok := strings.CutSuffix(text[i+2:i+2+end], ":")
			if !ok {
				set['['] = true
				low = '['
				break
			}
			if !set.addNamed(name, fold) {
				return nil, 0
			}
			i += 2 + end
			low = -1
		default:
			set[c] = true
			low = int(c)
		}
		i++
	}
	if negated {
		for b := range set {
			set[b] = !set[b]
		}
	}
	set['/'] = false
	return set, i + 1
}

func (s *byteSet) add(low, high int, fold bool) {
	for b := low; b <= high; b++ {
		s[b] = true
		// The letters of the text have been converted to lower case.
		if fold {
			s[folded(byte(b), true)] = true //nolint:gosec // low and high are bytes
		}
	}
}

func (s *byteSet) addNamed(name string, fold bool) bool {
	in, ok := namedClass(name)
	if !ok {
		return false
	}
	for b := range s {
		if in(byte(b)) || fold && name == "upper" && 'a' <= b && b <= 'z' {
			s[b] = true
		}
	}
	return true
}

// namedClass adds a POSIX character class, limited to ASCII.
func namedClass(name string) (in func(b byte) bool, ok bool) {
	upper := func(b byte) bool { return 'A' <= b && b <= 'Z' }
	lower := func(b byte) bool { return 'a' <= b && b <= 'z' }
	digit := func(b byte) bool { return '0' <= b && b <= '9' }
	graph := func(b byte) bool { return '!' <= b && b <= '~' }
	switch name {
	case "alnum":
		in = func(b byte) bool { return upper(b) || lower(b) || digit(b) }
	case "alpha":
		in = func(b byte) bool { return upper(b) || lower(b) }
	case "blank":
		in = func(b byte) bool { return b == ' ' || b == '\t' }
	case "cntrl":
		in = func(b byte) bool { return b < ' ' || b == 0x7f }
	case "digit":
		in = digit
	case "graph":
		in = graph
	case "lower":
		in = lower
	case "print":
		in = func(b byte) bool { return b == ' ' || graph(b) }
	case "punct":
		in = func(b byte) bool { return graph(b) && !upper(b) && !lower(b) && !digit(b) }
	case "space":
		in = func(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' }
	case "upper":
		in = upper
	case "xdigit":
		in = func(b byte) bool { return digit(b) || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F' }
	}
	return in, in != nil
}

func folded(b byte, fold bool) byte {
	if fold && 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// match reports whether the whole text matches.
//
// After a mismatch, the last star matches one byte more. Backtracking to the last
// star of each kind is enough: earlier stars have matched as little as possible, and
// the last one can match whatever an earlier one would give up.
func (g *glob) match(text string) bool {
	if g.never || len(text) < len(g.prefix) {
		return false
	}
	for i := range len(g.prefix) {
		if folded(g.prefix[i], g.fold) != folded(text[i], g.fold) {
			return false
		}
	}
	text = text[len(g.prefix):]

	const none = -1
	at, pos := 0, 0
	starAt, starPos := none, 0
	deepAt, deepPos := none, 0
	for {
		if at == len(g.tokens) && pos == len(text) {
			return true
		}
		if at < len(g.tokens) {
			switch t := &g.tokens[at]; t.kind {
			case tokenStar:
				starAt, starPos = at, pos
				at++
				continue
			case tokenDeep, tokenDirs:
				deepAt, deepPos = at, pos
				starAt = none
				at++
				continue
			default:
				if pos < len(text) && t.one(folded(text[pos], g.fold)) {
					at, pos = at+1, pos+1
					continue
				}
			}
		}
		switch {
		case starAt != none && starPos < len(text) && text[starPos] != '/':
			starPos++
			at, pos = starAt+1, starPos
		case deepAt != none && g.tokens[deepAt].kind == tokenDirs:
			next := strings.IndexByte(text[deepPos:], '/')
			if next < 0 {
				return false
			}
			deepPos += next + 1
			at, pos, starAt = deepAt+1, deepPos, none
		case deepAt != none && deepPos < len(text):
			deepPos++
			at, pos, starAt = deepAt+1, deepPos, none
		default:
			return false
		}
	}
}

func (t *token) one(b byte) bool {
	switch t.kind {
	case tokenAny:
		return b != '/'
	case tokenClass:
		return t.set[b]
	default:
		return b == t.b
	}
}
