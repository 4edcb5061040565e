// Package notify tells people of what they want to hear without looking, by a webhook.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/secret"
)

// Config says whom to tell. Without a URL nobody is told.
type Config struct {
	// URL is a webhook.
	URL secret.Hook `env:"ETL_NOTIFY_URL"`
	// Secret signs what is sent; without it nothing is signed.
	Secret secret.Text `env:"ETL_NOTIFY_SECRET"`
}

// Validate reports every variable that is wrong. It shows nothing of them.
func (c *Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL.Reveal())
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("ETL_NOTIFY_URL must be a URL that begins with https:// or http://, such as that of a chat's incoming webhook")
	}
	if u.User != nil {
		return errors.New("ETL_NOTIFY_URL has a user in it: webhooks are known by their path, or by the signature that ETL_NOTIFY_SECRET makes")
	}
	return nil
}

// Remarks are on what is valid and does nothing.
func (c *Config) Remarks() []string {
	if c.URL == "" && c.Secret != "" {
		return []string{"ETL_NOTIFY_SECRET is set without ETL_NOTIFY_URL, so it signs nothing"}
	}
	return nil
}

// Outbox is where notices wait.
type Outbox interface {
	// TakeNotice returns the one that is due for the longest, nil where none is.
	TakeNotice(ctx context.Context, again time.Duration) (*run.Notice, error)
	// Told keeps what came of it; it is due again in a while, or never where that is 0.
	Told(ctx context.Context, id int64, problem error, again time.Duration) error
}

// Headers of what is sent. The signature is the HMAC-SHA256, by ETL_NOTIFY_SECRET, of the
// timestamp, a full stop and the body, in hexadecimal digits.
const (
	HeaderTimestamp = "X-Etl-Timestamp" // in seconds since 1970
	HeaderSignature = "X-Etl-Signature" // "sha256=" and the digits
)

// How a notice is told.
const (
	timeout = 10 * time.Second
	// lease is how long whoever has taken a notice has for it.
	lease = time.Minute
	// giveUp is after how many attempts nobody wants to hear of it any more: a day, about.
	giveUp  = 30
	longest = time.Hour // between two of them
)

// Sender tells notices.
type Sender struct {
	config   Config
	pipeline string
	outbox   Outbox
	client   *http.Client
	// Count, if set, hears of each attempt, and whether it succeeded.
	Count func(told bool)
}

// New makes a sender.
func New(config Config, pipeline string, outbox Outbox) *Sender {
	return &Sender{config: config, pipeline: pipeline, outbox: outbox, client: &http.Client{
		Timeout: timeout,
		// Whoever answers so may send the signature anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Next tells the notice that is due for the longest. It is false where none is, or where the
// ledger does not say.
func (s *Sender) Next(ctx context.Context) (told bool, err error) {
	n, err := s.outbox.TakeNotice(ctx, lease)
	if err != nil || n == nil {
		return false, err
	}
	problem := s.send(ctx, n)
	if ctx.Err() != nil {
		return false, context.Cause(ctx) // it is due again when the lease ends
	}
	if s.Count != nil {
		s.Count(problem == nil)
	}
	again := pause(n.Attempts)
	if err := s.outbox.Told(ctx, n.ID, problem, again); err != nil {
		return false, err
	}
	if problem != nil && again == 0 {
		problem = fmt.Errorf("it is given up after %d attempts: %w", n.Attempts, problem)
	}
	return true, problem
}

// pause is how long after so many attempts the next one is made, 0 for never.
func pause(attempts int) time.Duration {
	if attempts >= giveUp {
		return 0
	}
	const first, doublings = 5 * time.Second, 10
	return min(first<<min(attempts-1, doublings), longest)
}

// message is what is sent. Text is what chats show.
type message struct {
	Text     string       `json:"text"`
	Event    run.NoticeOf `json:"event"`
	Subject  string       `json:"subject"`
	Pipeline string       `json:"pipeline"`
	Run      string       `json:"run,omitempty"`
	At       time.Time    `json:"at"`
}

// plain is text that a chat takes for text, whatever it has of products:
// https://api.slack.com/reference/surfaces/formatting#escaping
var plain = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (s *Sender) send(ctx context.Context, n *run.Notice) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(message{Text: plain.Replace(n.Text), Event: n.Event, Subject: n.Subject, Pipeline: s.pipeline, Run: n.Run, At: n.At}); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.URL.Reveal(), bytes.NewReader(body.Bytes()))
	if err != nil {
		return errors.New("ETL_NOTIFY_URL cannot be used")
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "etl")
	request.Header.Set(HeaderTimestamp, now)
	if s.config.Secret != "" {
		request.Header.Set(HeaderSignature, "sha256="+Sign(s.config.Secret, now, body.Bytes()))
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return hidden(err)
	}
	defer func() { _ = answer.Body.Close() }()
	const most = 300                                         // bytes of what it says
	said, _ := io.ReadAll(io.LimitReader(answer.Body, most)) // it is only quoted
	switch answer.StatusCode / 100 {
	case 2:
		return nil
	case 3:
		return fmt.Errorf("the webhook answers %s, and redirects are not followed: set ETL_NOTIFY_URL to where it leads", answer.Status)
	}
	return fmt.Errorf("the webhook answers %s: %s", answer.Status, strings.TrimSpace(strings.ToValidUTF8(string(said), "")))
}

// hidden is an error of the client without the URL that it was about.
func hidden(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		err = about.Err
	}
	return fmt.Errorf("the webhook does not answer: %w", err)
}

// Sign is the signature of a body that is sent at a time, in seconds since 1970.
func Sign(key secret.Text, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}
