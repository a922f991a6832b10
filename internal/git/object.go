package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	// maxObject bounds the commits and trees that are read.
	maxObject = 64 << 20
	// maxDelta bounds a chain of deltas, maxAlternates one of object stores, and
	// maxRefs one of references.
	maxDelta      = 4096
	maxAlternates = 5
	maxRefs       = 5
	maxPackedRefs = 256 << 20
	// maxInflated bounds what is decompressed for one object in total, because a
	// small pack can have a long chain of large deltas.
	maxInflated = 4 * maxObject
)

// ErrNoHead reports that there is no commit yet, or none that can be found.
var ErrNoHead = errors.New("no commit")

// Head returns the ID of the commit that is checked out, in hex.
func (r *Repo) Head() (string, error) {
	ref, err := headRef(r.dir)
	if err != nil {
		return "", err
	}
	text := "ref: " + ref
	if ref == "" {
		data, err := readSmall(filepath.Join(r.dir, "HEAD"), maxSmall)
		if err != nil {
			return "", err
		}
		text = string(data)
	}
	for range maxRefs {
		text = strings.TrimSpace(text)
		ref, ok := strings.CutPrefix(text, "ref:")
		if !ok {
			if !isID(text) {
				return "", ErrNoHead
			}
			return text, nil
		}
		if text, ok = r.ref(strings.TrimSpace(ref)); !ok {
			return "", ErrNoHead
		}
	}
	return "", ErrNoHead
}

func (r *Repo) ref(name string) (string, bool) {
	local := filepath.FromSlash(name)
	if !strings.HasPrefix(name, "refs/") || !filepath.IsLocal(local) {
		return "", false
	}
	// A few references, such as refs/bisect, belong to one work tree.
	for _, dir := range []string{r.dir, r.common} {
		if data, err := readSmall(filepath.Join(dir, local), maxSmall); err == nil {
			return string(data), true
		}
	}
	f, _, err := OpenFile(filepath.Join(r.common, "packed-refs"))
	if err != nil {
		return "", false
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(io.LimitReader(f, maxPackedRefs))
	for lines.Scan() {
		if id, found, ok := strings.Cut(lines.Text(), " "); ok && found == name && isID(id) {
			return id, true
		}
	}
	return "", false
}

// tree returns the ID of the tree of a commit, or of a directory in it, nil if the
// commit has no such directory.
func (r *Repo) tree(commit, dir string) ([]byte, error) {
	id, err := hex.DecodeString(commit)
	if err != nil {
		return nil, err
	}
	kind, data, err := r.object(id)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	text, ok := strings.CutPrefix(string(line), "tree ")
	if kind != "commit" || !ok || len(text) != 2*r.idSize {
		return nil, fmt.Errorf("commit %s: %w", commit, ErrFormat)
	}
	if id, err = hex.DecodeString(text); err != nil {
		return nil, err
	}
	if dir == "" {
		return id, nil
	}
	for name := range strings.SplitSeq(dir, "/") {
		kind, data, err := r.object(id)
		if err != nil || kind != "tree" {
			return nil, errors.Join(ErrFormat, err)
		}
		if id = treeEntry(data, name, r.idSize); id == nil {
			return nil, nil
		}
	}
	return id, nil
}

func treeEntry(data []byte, name string, idSize int) []byte {
	for len(data) > 0 {
		header, rest, ok := bytes.Cut(data, []byte{0})
		if !ok || len(rest) < idSize {
			return nil
		}
		mode, found, _ := strings.Cut(string(header), " ")
		if found == name && mode == "40000" {
			return rest[:idSize]
		}
		data = rest[idSize:]
	}
	return nil
}

// object reads an object from a loose file or a pack.
func (r *Repo) object(id []byte) (kind string, data []byte, err error) {
	stores := []string{filepath.Join(r.common, "objects")}
	left := int64(maxInflated)
	for i := 0; i < len(stores) && i < maxAlternates; i++ {
		s := store{dir: stores[i], idSize: r.idSize, left: &left}
		kind, data, err = s.object(id, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return kind, data, err
		}
		list, readErr := readSmall(filepath.Join(stores[i], "info", "alternates"), maxSmall)
		if readErr != nil {
			continue
		}
		for line := range strings.Lines(string(list)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && !refusesPath(line) {
				stores = append(stores, inDir(stores[i], line))
			}
		}
	}
	return "", nil, fmt.Errorf("object %x: %w", id, fs.ErrNotExist)
}

// store is a directory of objects.
type store struct {
	dir    string
	idSize int
	// left is how much may still be decompressed.
	left *int64
}

func (s store) object(id []byte, depth int) (string, []byte, error) {
	name := hex.EncodeToString(id)
	f, _, err := OpenFile(filepath.Join(s.dir, name[:2], name[2:]))
	if err == nil {
		defer func() { _ = f.Close() }()
		return s.loose(f)
	}
	if !missing(err) {
		return "", nil, err
	}
	packs, err := os.ReadDir(filepath.Join(s.dir, "pack"))
	if err != nil {
		return "", nil, fs.ErrNotExist
	}
	for _, pack := range packs {
		base, ok := strings.CutSuffix(pack.Name(), ".idx")
		if !ok {
			continue
		}
		base = filepath.Join(s.dir, "pack", base)
		offset, ok, err := s.find(base+".idx", id)
		if err != nil {
			return "", nil, err
		}
		if !ok {
			continue
		}
		pack, _, err := OpenFile(base + ".pack")
		if err != nil {
			return "", nil, err
		}
		defer func() { _ = pack.Close() }()
		return s.packed(pack, offset, depth)
	}
	return "", nil, fs.ErrNotExist
}

func (s store) loose(r io.Reader) (string, []byte, error) {
	data, err := s.inflate(r)
	if err != nil {
		return "", nil, err
	}
	header, data, ok := bytes.Cut(data, []byte{0})
	kind, size, _ := strings.Cut(string(header), " ")
	if n, err := strconv.Atoi(size); !ok || err != nil || n != len(data) {
		return "", nil, ErrFormat
	}
	return kind, data, nil
}

func (s store) inflate(r io.Reader) ([]byte, error) {
	zr, err := zlib.NewReader(r)
	if err != nil {
		return nil, err
	}
	most := min(maxObject, *s.left)
	data, err := io.ReadAll(io.LimitReader(zr, most+1))
	*s.left -= int64(len(data))
	if err == nil && int64(len(data)) > most {
		err = ErrFormat
	}
	return data, err
}

// find returns the position of an object in a pack, from the pack's index.
func (s store) find(idx string, id []byte) (offset int64, ok bool, err error) {
	f, _, err := OpenFile(idx)
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = f.Close() }()
	const fanout = 8
	header := make([]byte, fanout+256*4)
	if _, err := f.ReadAt(header, 0); err != nil {
		return 0, false, err
	}
	if string(header[:fanout]) != "\xfftOc\x00\x00\x00\x02" {
		return 0, false, fmt.Errorf("%s: %w", idx, ErrFormat)
	}
	upTo := func(b int) int64 {
		if b < 0 {
			return 0
		}
		return int64(binary.BigEndian.Uint32(header[fanout+4*b:]))
	}
	var failed error
	at := func(pos int64, size int) []byte {
		b := make([]byte, size)
		if _, err := f.ReadAt(b, pos); err != nil && failed == nil {
			failed = err
		}
		return b
	}
	names, count := int64(len(header)), upTo(255)
	low, high := upTo(int(id[0])-1), upTo(int(id[0]))
	if low > high || high > count {
		return 0, false, fmt.Errorf("%s: %w", idx, ErrFormat)
	}
	i := low + int64(sort.Search(int(high-low), func(i int) bool {
		return bytes.Compare(at(names+(low+int64(i))*int64(s.idSize), s.idSize), id) >= 0
	}))
	if i == high || !bytes.Equal(at(names+i*int64(s.idSize), s.idSize), id) {
		return 0, false, failed
	}
	// The IDs are followed by a checksum for each, the offsets, and the offsets
	// that do not fit into 31 bits.
	offsets := names + count*int64(s.idSize+4)
	offset = int64(binary.BigEndian.Uint32(at(offsets+4*i, 4)))
	if offset&0x80000000 != 0 {
		offset = int64(binary.BigEndian.Uint64(at(offsets+4*count+8*(offset&0x7fffffff), 8))) //nolint:gosec // a wrong one is not found
	}
	return offset, failed == nil, failed
}

// packed reads an object from a pack.
func (s store) packed(pack *os.File, offset int64, depth int) (string, []byte, error) {
	if depth > maxDelta || offset < 0 {
		return "", nil, ErrFormat
	}
	r := bufio.NewReader(io.NewSectionReader(pack, offset, 1<<62-offset))
	c, err := r.ReadByte()
	if err != nil {
		return "", nil, err
	}
	kind := c >> 4 & 7
	// The size that follows is not needed.
	for c&0x80 != 0 {
		if c, err = r.ReadByte(); err != nil {
			return "", nil, err
		}
	}
	base := func() (string, []byte, error) { return "", nil, ErrFormat }
	switch kind {
	case 1, 2, 3, 4:
		data, err := s.inflate(r)
		return []string{"commit", "tree", "blob", "tag"}[kind-1], data, err
	case 6:
		back, err := deltaOffset(r)
		if err != nil {
			return "", nil, err
		}
		base = func() (string, []byte, error) { return s.packed(pack, offset-back, depth+1) }
	case 7:
		id := make([]byte, s.idSize)
		if _, err := io.ReadFull(r, id); err != nil {
			return "", nil, err
		}
		base = func() (string, []byte, error) { return s.object(id, depth+1) }
	}
	delta, err := s.inflate(r)
	if err != nil {
		return "", nil, err
	}
	name, source, err := base()
	if err != nil {
		return "", nil, err
	}
	data, err := applyDelta(source, delta)
	return name, data, err
}

// deltaOffset decodes the distance from a delta back to its base object.
func deltaOffset(r io.ByteReader) (int64, error) {
	var n int64
	for i := range 9 {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if i > 0 {
			n++
		}
		n = n<<7 | int64(c&0x7f)
		if c&0x80 == 0 {
			if n == 0 {
				return 0, ErrFormat
			}
			return n, nil
		}
	}
	return 0, ErrFormat
}

// applyDelta applies a delta to its base object.
func applyDelta(source, delta []byte) ([]byte, error) {
	from, n := binary.Uvarint(delta)
	if n <= 0 || from != uint64(len(source)) {
		return nil, ErrFormat
	}
	delta = delta[n:]
	size, n := binary.Uvarint(delta)
	if n <= 0 || size > maxObject {
		return nil, ErrFormat
	}
	delta = delta[n:]
	out := make([]byte, 0, min(size, maxSmall))
	for len(delta) > 0 {
		op := delta[0]
		delta = delta[1:]
		if op&0x80 == 0 {
			// The instruction inserts the data that follows.
			if op == 0 || int(op) > len(delta) {
				return nil, ErrFormat
			}
			out = append(out, delta[:op]...)
			delta = delta[op:]
			continue
		}
		// The instruction copies a part of the base. Bits say which bytes of
		// offset and length are present.
		var number [7]byte
		for bit := range number {
			if op&(1<<bit) == 0 {
				continue
			}
			if len(delta) == 0 {
				return nil, ErrFormat
			}
			number[bit], delta = delta[0], delta[1:]
		}
		start := int(binary.LittleEndian.Uint32(number[:4]))
		length := int(number[4]) | int(number[5])<<8 | int(number[6])<<16
		if length == 0 {
			length = 0x10000
		}
		if start+length > len(source) || len(out)+length > maxObject {
			return nil, ErrFormat
		}
		out = append(out, source[start:start+length]...)
	}
	if uint64(len(out)) != size {
		return nil, ErrFormat
	}
	return out, nil
}
