package stack

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// aptSource is one line or stanza of apt's list of package sources (sources.list(5)).
type aptSource struct {
	uris       []string
	suites     []string
	components []string
	keyring    string // file of the keys that sign it; empty: apt's default
}

// parseSourcesList reads the one-line form: "deb [option=value …] uri suite component…".
func parseSourcesList(text string) []aptSource {
	var sources []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, isDeb := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !isDeb {
			continue
		}
		var source aptSource
		rest = strings.TrimSpace(rest)
		if options, after, found := strings.Cut(strings.TrimPrefix(rest, "["), "]"); found && strings.HasPrefix(rest, "[") {
			rest = after
			for option := range strings.FieldsSeq(options) {
				if file, found := strings.CutPrefix(option, "signed-by="); found && filepath.IsAbs(file) {
					source.keyring = file
				}
			}
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		source.uris, source.suites, source.components = fields[:1], fields[1:2], fields[2:]
		sources = append(sources, source)
	}
	return sources
}

// parseDeb822 reads the stanza form of .sources files.
func parseDeb822(text string) []aptSource {
	var sources []aptSource
	fields := map[string]string{}
	finish := func() {
		if enabled := strings.ToLower(fields["enabled"]); enabled != "no" && enabled != "false" &&
			slices.Contains(strings.Fields(fields["types"]), "deb") {
			source := aptSource{
				uris:       strings.Fields(fields["uris"]),
				suites:     strings.Fields(fields["suites"]),
				components: strings.Fields(fields["components"]),
			}
			// The field may also hold fingerprints or a whole key; only a file can be handed on.
			if file := strings.TrimSpace(fields["signed-by"]); filepath.IsAbs(file) && len(strings.Fields(file)) == 1 {
				source.keyring = file
			}
			sources = append(sources, source)
		}
		clear(fields)
	}
	var last string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			finish()
		case line[0] == ' ' || line[0] == '\t': // continues the field before
			fields[last] += "\n" + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			fields[last] = strings.TrimSpace(value)
		}
	}
	finish()
	return sources
}

// readAptSources reads all package sources below an apt configuration folder.
func readAptSources(etc string) []aptSource {
	var sources []aptSource
	lists, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", "*.list"))
	for _, file := range append([]string{filepath.Join(etc, "sources.list")}, lists...) {
		if text, err := os.ReadFile(file); err == nil {
			sources = append(sources, parseSourcesList(string(text))...)
		}
	}
	stanzas, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", "*.sources"))
	for _, file := range stanzas {
		if text, err := os.ReadFile(file); err == nil {
			sources = append(sources, parseDeb822(string(text))...)
		}
	}
	return sources
}

// mirror is where Debian packages come from.
type mirror struct {
	uri     string
	keyring string // file of the keys that sign it; empty: Debian's own
}

// debianMirror finds the mirror of Debian's main archive in the apt configuration folder etc of a machine that runs
// the release codename: the source of that very suite, which no third party's source serves with component main.
func debianMirror(etc, codename string) (mirror, error) {
	suites := []string{codename, "stable", "oldstable", "testing", "unstable", "sid"}
	for _, source := range readAptSources(etc) {
		if !slices.Contains(source.components, "main") ||
			!slices.ContainsFunc(source.suites, func(suite string) bool { return slices.Contains(suites, suite) }) {
			continue
		}
		for _, uri := range source.uris {
			if list, isList := strings.CutPrefix(uri, "mirror+file:"); isList {
				uri = firstMirror(list)
			}
			if strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://") {
				return mirror{uri: uri, keyring: source.keyring}, nil
			}
		}
	}
	return mirror{}, errors.New("the machine's apt configuration names no mirror of Debian's main archive: set STACK_DEBIAN_MIRROR to one")
}

// firstMirror returns the first address in a list of mirrors (apt-transport-mirror(1)), which cloud images use.
func firstMirror(file string) string {
	list, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = list.Close() }()
	for lines := bufio.NewScanner(list); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			return fields[0]
		}
	}
	return ""
}

// osRelease reads the machine's distribution and release name from an os-release file (os-release(5)).
func osRelease(file string) (id, codename string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("find out the machine's distribution: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			codename = value
		}
	}
	return id, codename, nil
}
