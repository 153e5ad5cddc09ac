import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * 事件变化，每个只取一次 / Every incident change, once: reads {@code incidents} from the beginning and prints a line a change.
 *
 * <p>Arguments: [servers [topic [silence in seconds [count]]]]; ends after that silence or count, 0: never.
 *
 * <p>zhinao delivers at least once. Two rules make that exactly once for a reader: within a partition ignore a record
 * whose {@code ce_epoch} is lower than one seen before (it is of a Desk that has been replaced), and take each
 * (incident_id, revision) once.
 */
public final class IncidentChanges {
    private static final Duration POLL = Duration.ofMillis(200);
    private static final List<String> SHOWN = List.of("changed_at", "incident_id", "revision", "state", "reason");

    private final ObjectMapper json = new ObjectMapper();
    private final Map<Integer, Long> epochs = new HashMap<>();
    private final Set<Identity> taken = new HashSet<>();

    private record Identity(String incident, long revision) {}

    public static void main(String[] arguments) throws IOException {
        String servers = argument(arguments, 0, "localhost:9092");
        String topic = argument(arguments, 1, "zhinao.incidents.v1");
        double silenceS = Double.parseDouble(argument(arguments, 2, "0"));
        long count = Long.parseLong(argument(arguments, 3, "0"));
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        Map<String, Object> settings =
                Map.of(
                        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, servers,
                        ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
                        ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class,
                        ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(topic).stream()
                            .map(found -> new TopicPartition(topic, found.partition()))
                            .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            new IncidentChanges().print(consumer, out, silenceS, count);
        }
    }

    private static String argument(String[] arguments, int number, String otherwise) {
        return number < arguments.length ? arguments[number] : otherwise;
    }

    /** Until there was nothing for so long, or so many changes have been printed. */
    private void print(KafkaConsumer<byte[], byte[]> consumer, PrintStream out, double silenceS, long count)
            throws IOException {
        long printed = 0;
        long heard = System.nanoTime();
        while (silenceS == 0 || System.nanoTime() - heard < silenceS * 1e9) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                heard = System.nanoTime();
                JsonNode change = change(record);
                if (change != null) {
                    out.println(line(change));
                    if (++printed == count) {
                        return;
                    }
                }
            }
        }
    }

    /** The change in a record; null where it is of an older epoch or was taken before. */
    private JsonNode change(ConsumerRecord<byte[], byte[]> record) throws IOException {
        long epoch = epoch(record);
        if (epoch < epochs.getOrDefault(record.partition(), 0L)) {
            return null;
        }
        epochs.put(record.partition(), epoch);
        JsonNode change = json.readTree(record.value());
        Identity identity = new Identity(change.get("incident_id").asText(), change.get("revision").asLong());
        return taken.add(identity) ? change : null;
    }

    private static long epoch(ConsumerRecord<byte[], byte[]> record) {
        Header header = record.headers().lastHeader("ce_epoch");
        return header == null ? 0 : Long.parseLong(new String(header.value(), StandardCharsets.UTF_8));
    }

    private static String line(JsonNode change) {
        StringBuilder text = new StringBuilder();
        for (String name : SHOWN) {
            text.append(change.get(name).asText()).append('\t');
        }
        return text.append(change.get("message").get("zh").asText()).toString();
    }
}
