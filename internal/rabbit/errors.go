package rabbit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// AwayError says that the broker does not answer at present, or has no room for us: what
// was asked of it may succeed later, without a change of our configuration. What it
// refuses for good is another error.
type AwayError struct{ err error }

func (e *AwayError) Error() string { return e.err.Error() }

func (e *AwayError) Unwrap() error { return e.err }

func away(remedy string, err error) error { return &AwayError{fmt.Errorf("%s: %w", remedy, err)} }

// limits are the bounds that a connection or a channel may meet: what the broker says,
// which has one code for them and for rights, and the remedy. The first that fits counts.
var limits = []struct{ said, remedy string }{
	{"user connection limit", "the broker's user has as many connections as its limit allows: close some, or raise max-connections (rabbitmqctl set_user_limits)"},
	{"node connection limit", "the broker's node has as many connections as its limit allows: close some, or raise connection_max in its rabbitmq.conf"},
	{"connection limit", "the vhost has as many connections as its limit allows: close some, or raise max-connections (rabbitmqctl set_vhost_limits)"},
	{"channels opened for user", "the broker's user has as many channels as its limit allows: close some, or raise max-channels (rabbitmqctl set_user_limits)"},
	{"channels opened on node", "the broker's node has as many channels as its limit allows: close some, or raise channel_max_per_node in its rabbitmq.conf"},
	{"queue limit in vhost", "the vhost has as many queues as its limit allows: delete some, or raise max-queues (rabbitmqctl set_vhost_limits)"},
}

// Limited names the limit of the broker that a refusal speaks of, with the remedy; nil
// where it speaks of none.
func Limited(refused *amqp.Error) error {
	for _, l := range limits {
		if strings.Contains(refused.Reason, l.said) {
			return away(l.remedy, refused)
		}
	}
	return nil
}

// explained adds the remedy to the errors that operators meet.
func explained(err error) error {
	var refused *amqp.Error
	switch {
	case errors.Is(err, amqp.ErrVhost): // which is the library's guess: the broker has said nothing
		return away("the broker ended the connection as the vhost of RABBITMQ_ENDPOINT was opened, and did not say why: see its log", io.EOF)
	case errors.Is(err, amqp.ErrChannelMax):
		return fmt.Errorf("the connection has as many channels as it may: raise channel_max, in RABBITMQ_ENDPOINT or in the broker's rabbitmq.conf: %w", err)
	case errors.As(err, &refused):
		return explainedReply(refused, err)
	case errors.As(err, new(tls.RecordHeaderError)):
		return fmt.Errorf("the broker does not speak TLS there: use amqp:// or the TLS port in RABBITMQ_ENDPOINT: %w", err)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("the broker's certificate is not trusted: check the host of RABBITMQ_ENDPOINT and this machine's CA certificates: %w", err)
	case strings.Contains(err.Error(), refusedTLS):
		return fmt.Errorf(tlsRemedy, err)
	case errors.As(err, new(net.Error)), errors.As(err, new(*net.OpError)):
		return away("no broker answers: check the host of RABBITMQ_ENDPOINT and the network", err)
	}
	return err
}

const (
	// refusedTLS is how Go tells of the other side's alert. After the handshake of TLS 1.3
	// it comes as text only, for the client library keeps nothing else.
	refusedTLS = "remote error: tls: "
	tlsRemedy  = "the broker refused our TLS: a client certificate is named in RABBITMQ_ENDPOINT by certfile and keyfile: %w"
)

// explainedReply explains err by what the broker, or the library in its place, replied.
// Codes: https://www.rabbitmq.com/amqp-0-9-1-reference#constants
func explainedReply(refused *amqp.Error, err error) error {
	if limited := Limited(refused); limited != nil {
		return limited
	}
	switch says := refused.Reason; {
	case refused.Code == amqp.AccessRefused:
		return fmt.Errorf("authentication failed: check user, password and vhost of RABBITMQ_ENDPOINT: %w", err)
	case refused.Code == amqp.NotAllowed && strings.HasSuffix(says, "not found"):
		return fmt.Errorf("there is no such vhost: check the vhost of RABBITMQ_ENDPOINT: %w", err)
	case refused.Code == amqp.NotAllowed && strings.Contains(says, "negotiate"):
		return fmt.Errorf("the broker's limits do not suit it or us: check frame_max, channel_max and heartbeat in its rabbitmq.conf and in RABBITMQ_ENDPOINT: %w", err)
	case refused.Code == amqp.NotAllowed:
		return fmt.Errorf("the user may not use this vhost: check the vhost of RABBITMQ_ENDPOINT and the user's permissions: %w", err)
	case refused.Code == amqp.InternalError && strings.HasSuffix(says, "is down"):
		return away("the vhost of RABBITMQ_ENDPOINT is down: restart it (rabbitmqctl restart_vhost), and see the broker's log", err)
	case refused.Code == amqp.ConnectionForced, refused.Code == amqp.InternalError:
		return away("the broker ended the connection: see its log", err)
	case refused.Code == amqp.FrameError && !refused.Server && strings.Contains(says, refusedTLS):
		return fmt.Errorf(tlsRemedy, err)
	case refused.Code == amqp.FrameError && !refused.Server && strings.HasPrefix(says, "Exception"): // of the library, that could not read it
		return fmt.Errorf("what answers is no AMQP broker: check host and port of RABBITMQ_ENDPOINT: %w", err)
	case refused.Code == amqp.FrameError && !refused.Server:
		return away("the connection was ended without a word: check host and port of RABBITMQ_ENDPOINT (a TLS port needs amqps://), or the broker starts or ends just now", err)
	}
	return err
}
