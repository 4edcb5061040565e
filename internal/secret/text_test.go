package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/secret"
)

const password = "hunter2/geheim"

// traces are forms in which a text may show through: as it is, quoted, as
// numbers, and in hexadecimal.
func traces(text string) []string {
	decimal := fmt.Sprintf("%d", []byte(text))
	return []string{text, text[:4], fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("% x", text), strings.Trim(decimal, "[]")}
}

func checkHidden(t *testing.T, how, printed string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, trace := range traces(s) {
			if strings.Contains(printed, trace) {
				t.Errorf("%s shows %q: %s", how, trace, printed)
			}
		}
	}
}

// holder is what a configuration looks like.
type holder struct {
	Name     string
	Password secret.Text
	URL      secret.URL
	Hook     secret.Hook
	Pointer  *secret.Text
	Any      any
	List     []secret.Text
	Map      map[string]secret.URL
	Inner    struct{ Password secret.Text }
}

func held() (h holder, hidden []string) {
	text := secret.Text(password)
	url := secret.URL("amqp://etl:" + password + "@rabbitmq:5672/")
	h = holder{Name: "kept", Password: text, URL: url, Hook: secret.Hook("https://hooks.chat.example/services/" + password + "?token=" + password), Pointer: &text, Any: text, List: []secret.Text{text}, Map: map[string]secret.URL{"broker": url}}
	h.Inner.Password = text
	return h, []string{password}
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%#q", "%x", "%X", "% x", "%d", "%b", "%o", "%O", "%c", "%U", "%t", "%e", "%g", "%08.3f", "%20s", "%-20v", "%.3s"}

func TestSecretsAreMaskedUnderEveryVerb(t *testing.T) {
	t.Parallel()
	h, hidden := held()
	for _, verb := range verbs {
		for name, value := range map[string]any{
			"a text": h.Password, "a pointer to a text": h.Pointer, "an address": h.URL, "a webhook": h.Hook, "a list": h.List, "a map": h.Map,
			"a struct": h, "a pointer to a struct": &h, "an array": [1]secret.Text{h.Password}, "a key": map[secret.Text]int{h.Password: 1},
		} {
			checkHidden(t, verb+" of "+name, fmt.Sprintf(verb, value), hidden...)
		}
	}
	checkHidden(t, "Sprint", fmt.Sprint(h.Password, h.URL, h), hidden...)
	checkHidden(t, "Sprintln", fmt.Sprintln(h.Password, &h.URL, &h), hidden...)
}

func TestMaskedSecretsShowThatTheyAreSet(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprintf("%s|%s", secret.Text(password), secret.Text("")); got != "********|" {
		t.Errorf("%q, want a mask where a secret is set, and nothing where it is not", got)
	}
	if a, b := fmt.Sprint(secret.Text("x")), fmt.Sprint(secret.Text(strings.Repeat("x", 50))); a != b {
		t.Errorf("the mask shows the length: %q and %q", a, b)
	}
	if h, _ := held(); !strings.Contains(fmt.Sprintf("%+v", h), "Name:kept") {
		t.Error("what is no secret is masked too")
	}
}

func TestSecretsAreMaskedInErrors(t *testing.T) {
	t.Parallel()
	h, hidden := held()
	err := fmt.Errorf("connect to %s as %q: %w", h.URL, h.Password, fmt.Errorf("refused %v", h))
	err = errors.Join(err, fmt.Errorf("again: %w", err))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		checkHidden(t, "an error with "+verb, fmt.Sprintf(verb, err), hidden...)
	}
	checkHidden(t, "Error", err.Error(), hidden...)
}

func TestSecretsAreMaskedInLogs(t *testing.T) {
	t.Parallel()
	h, hidden := held()
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, handler := range handlers {
		var out bytes.Buffer
		log := slog.New(handler(&out)).With("with", h.Password)
		log.Info("attributes", "text", h.Password, "url", h.URL, "pointer", h.Pointer, "struct", h, "structs", []holder{h}, "to struct", &h,
			slog.Group("group", "text", h.Password, "map", h.Map), slog.Any("any", h.Any), "err", fmt.Errorf("refused %v", h.URL))
		checkHidden(t, name+" log", out.String(), hidden...)
		if !strings.Contains(out.String(), "rabbitmq:5672") || !strings.Contains(out.String(), "********") {
			t.Errorf("the %s log does not show what it may: %s", name, out.String())
		}
	}
}

func TestSecretsAreMaskedInJSON(t *testing.T) {
	t.Parallel()
	h, hidden := held()
	for name, value := range map[string]any{"a text": h.Password, "an address": h.URL, "a struct": h, "a pointer": &h} {
		out, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		checkHidden(t, "JSON of "+name, string(out), hidden...)
	}
	if out, _ := json.Marshal(struct{ Password secret.Text }{password}); string(out) != `{"Password":"********"}` {
		t.Errorf("JSON is %s", out)
	}
}

func TestRevealGivesTheContent(t *testing.T) {
	t.Parallel()
	if got := secret.Text(password).Reveal(); got != password {
		t.Errorf("%q, want %q", got, password)
	}
	if got := secret.URL("amqp://a:b@c/").Reveal(); got != "amqp://a:b@c/" {
		t.Errorf("%q", got)
	}
}
