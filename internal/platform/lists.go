package platform

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPage = 200
	maxPage     = 1000
)

// listAttr is an attribute by which a list can be sorted and ranged over. Its
// values are compared as strings in the form that key returns.
type listAttr struct {
	name   string
	unique bool
	key    func(bound string) (string, bool)
}

func textAttr(name string) listAttr {
	return listAttr{name: name, unique: true, key: func(s string) (string, bool) { return s, true }}
}

func versionAttr(name string) listAttr {
	return listAttr{name: name, unique: true, key: func(s string) (string, bool) {
		n, err := strconv.ParseUint(s, 10, 63)
		return versionKey(int(n)), err == nil
	}}
}

func versionKey(n int) string { return fmt.Sprintf("%019d", n) }

func timeAttr(name string) listAttr {
	return listAttr{name: name, key: func(s string) (string, bool) {
		t, err := time.Parse(time.RFC3339, s)
		return formatTime(t), err == nil
	}}
}

// listItem is an item of a list with a key for each attribute.
type listItem struct {
	id   string
	keys []string
	view any
}

// displayKey returns the value of an attribute in the form that clients see.
func displayKey(a listAttr, key string) string {
	if n, err := strconv.Atoi(key); err == nil && a.name == "version" {
		return strconv.Itoa(n)
	}
	return key
}

// bound is an end of a range. The cursor is the ID of the item after which to
// continue, for attributes whose values are not unique.
type bound struct {
	set       bool
	exclusive bool
	key       string
	cursor    string
}

type listRange struct {
	attr       int
	start, end bound
	max        int
	desc       bool
}

// replyList sends the items that the Range header requests. Items must be in
// order of creation, which is the order of items with equal attributes.
func replyList(w http.ResponseWriter, r *http.Request, attrs []listAttr, items []listItem) error {
	names := make([]string, len(attrs))
	for i, a := range attrs {
		names[i] = a.name
	}
	w.Header().Set("Accept-Ranges", strings.Join(names, ", "))
	rng, ok := parseListRange(r.Header.Get("Range"), attrs)
	if !ok {
		return &apiError{status: http.StatusRequestedRangeNotSatisfiable, ID: "requested_range_not_satisfiable", Message: "The requested range is not satisfiable.", URL: "https://devcenter.heroku.com/articles/platform-api-reference#ranges"}
	}
	attr := attrs[rng.attr]
	page, more := rng.page(items)

	views := make([]any, len(page))
	for i, it := range page {
		views[i] = it.view
	}
	if len(page) == 0 {
		w.Header().Set("Content-Range", attr.name+" ..")
		return reply(w, r, http.StatusOK, views)
	}
	first, last := page[0], page[len(page)-1]
	w.Header().Set("Content-Range", attr.name+" "+displayKey(attr, first.keys[rng.attr])+".."+displayKey(attr, last.keys[rng.attr]))
	if !more {
		return reply(w, r, http.StatusOK, views)
	}
	w.Header().Set("Next-Range", rng.next(attr, last))
	return reply(w, r, http.StatusPartialContent, views)
}

// next returns the Range header that continues after last.
func (rng listRange) next(attr listAttr, last listItem) string {
	from := displayKey(attr, last.keys[rng.attr])
	if !attr.unique {
		from += "~" + last.id
	}
	var to string
	if rng.end.set {
		to = displayKey(attr, rng.end.key)
		if rng.end.exclusive {
			to += "["
		}
	}
	text := attr.name + " ]" + from + ".." + to + "; max=" + strconv.Itoa(rng.max)
	if rng.desc {
		text += ", order=desc"
	}
	return text
}

// page sorts the items and returns the first page of the range. Start and end
// follow the order of the list, but a descending range with ascending bounds is
// accepted too.
func (rng listRange) page(items []listItem) (page []listItem, more bool) {
	if rng.desc && rng.start.set && rng.end.set && rng.start.key < rng.end.key {
		rng.start, rng.end = rng.end, rng.start
	}
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b listItem) int { return cmp.Compare(a.keys[rng.attr], b.keys[rng.attr]) })
	if rng.desc {
		slices.Reverse(sorted)
	}
	from := 0
	if rng.start.cursor != "" {
		if i := slices.IndexFunc(sorted, func(it listItem) bool { return it.id == rng.start.cursor }); i >= 0 {
			from = i + 1
			rng.start.set = false
		}
	}
	for _, it := range sorted[from:] {
		if !rng.contains(it.keys[rng.attr]) {
			continue
		}
		if len(page) == rng.max {
			return page, true
		}
		page = append(page, it)
	}
	return page, false
}

func (rng listRange) contains(key string) bool {
	side := func(b bound) int {
		c := cmp.Compare(key, b.key)
		if rng.desc {
			c = -c
		}
		return c
	}
	if b := rng.start; b.set {
		if c := side(b); c < 0 || c == 0 && b.exclusive {
			return false
		}
	}
	if b := rng.end; b.set {
		if c := side(b); c > 0 || c == 0 && b.exclusive {
			return false
		}
	}
	return true
}

// parseListRange parses `<attr> [<start>]..[<end>][; max=N[, order=asc|desc]]`,
// where "]" before the start and "[" after the end make them exclusive. An open
// end has no exclusivity: "id ]..", which Heroku's older Node client sends with
// every request, is the whole range. The default is the whole range of the first
// attribute.
func parseListRange(header string, attrs []listAttr) (listRange, bool) {
	rng := listRange{max: defaultPage}
	if strings.TrimSpace(header) == "" {
		return rng, true
	}
	spec, params, _ := strings.Cut(header, ";")
	name, span, ok := strings.Cut(strings.TrimSpace(spec), " ")
	if !ok {
		return rng, false
	}
	rng.attr = slices.IndexFunc(attrs, func(a listAttr) bool { return a.name == name })
	if rng.attr < 0 {
		return rng, false
	}
	start, end, ok := strings.Cut(strings.TrimSpace(span), "..")
	if !ok {
		return rng, false
	}
	start, end = strings.TrimSpace(start), strings.TrimSpace(end)
	if rest, found := strings.CutPrefix(start, "]"); found {
		rng.start.exclusive, start = true, rest
	} else {
		start = strings.TrimPrefix(start, "[")
	}
	if rest, found := strings.CutSuffix(end, "["); found {
		rng.end.exclusive, end = true, rest
	} else {
		end = strings.TrimSuffix(end, "]")
	}
	if !rng.start.parse(start, attrs[rng.attr]) || !rng.end.parse(end, attrs[rng.attr]) {
		return rng, false
	}
	for _, param := range strings.FieldsFunc(params, func(r rune) bool { return r == ',' || r == ';' }) {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch key {
		case "":
		case "max":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPage {
				return rng, false
			}
			rng.max = n
		case "order":
			if value != "asc" && value != "desc" {
				return rng, false
			}
			rng.desc = value == "desc"
		default:
			return rng, false
		}
	}
	return rng, true
}

func (b *bound) parse(text string, attr listAttr) bool {
	if text == "" {
		b.exclusive = false // there is nothing to exclude
		return true
	}
	b.set = true
	if !attr.unique {
		text, b.cursor, _ = strings.Cut(text, "~")
	}
	var ok bool
	b.key, ok = attr.key(text)
	return ok
}
