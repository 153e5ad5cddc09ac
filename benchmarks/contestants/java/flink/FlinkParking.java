package parking;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.JobExecutionResult;
import org.apache.flink.api.common.accumulators.LongCounter;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Illegal parking as a DataStream job: a file of lines, Jackson, the zones in a map, the stays in keyed state, a sink.
 *
 * <p>Arguments: {@code flink|plain all|slow ZONES PARK_MS OUT EVENTS...}: one run for each file of events, in this JVM,
 * one line of {@link Report} for each; the incidents of the last run are in OUT. {@code plain}: the same parsing and
 * zones in a loop without Flink, and no rule. {@code slow}: the zones of slow vehicles only.
 */
public final class FlinkParking {
    private static final String MEMBERSHIPS = "memberships";
    private static final double SLOW_MPS = 1.0;
    private static final int[] NOWHERE = {};

    private FlinkParking() {}

    public static void main(String[] given) throws Exception {
        boolean plain = given[0].equals("plain");
        boolean slowOnly = given[1].equals("slow");
        String zones = given[2];
        long parkMs = Long.parseLong(given[3]);
        String out = given[4];
        for (int k = 5; k < given.length; k++) {
            long begun = System.nanoTime();
            double cpuBegun = Report.cpuSeconds();
            long memberships =
                    plain ? loop(given[k], zones, slowOnly) : job(given[k], zones, slowOnly, parkMs, out);
            Report.run((System.nanoTime() - begun) / 1e9, Report.cpuSeconds() - cpuBegun, memberships);
        }
    }

    private static long job(String events, String zones, boolean slowOnly, long parkMs, String out) throws Exception {
        Configuration settings = new Configuration();
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(RestOptions.BIND_ADDRESS, "127.0.0.1");
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1, settings);
        var lines = FileSource.forRecordStreamFormat(
                        new TextLineInputFormat(), new org.apache.flink.core.fs.Path(events))
                .build();
        env.fromSource(lines, WatermarkStrategy.noWatermarks(), "events")
                .map(new Locate(zones, slowOnly))
                .returns(Types.POJO(Sighting.class))
                .keyBy(sighting -> sighting.track)
                .process(new Parked(zones, parkMs))
                .sinkTo(new Incidents(out));
        JobExecutionResult result = env.execute("parking");
        return result.<Long>getAccumulatorResult(MEMBERSHIPS);
    }

    private static long loop(String events, String zonesFile, boolean slowOnly) throws IOException {
        Zones zones = new Zones(zonesFile);
        ObjectReader reader = new ObjectMapper().readerFor(Detection.class);
        try (BufferedReader lines = Files.newBufferedReader(Path.of(events))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                Detection seen = reader.readValue(line);
                if (!slowOnly || seen.speed < SLOW_MPS) {
                    zones.noParkingAt(seen.lon, seen.lat);
                }
            }
        }
        return zones.memberships();
    }

    private static final class Locate extends RichMapFunction<String, Sighting> {
        private static final long serialVersionUID = 1;
        private final String file;
        private final boolean slowOnly;
        private final LongCounter memberships = new LongCounter();
        private transient ObjectReader reader;
        private transient Zones zones;

        Locate(String file, boolean slowOnly) {
            this.file = file;
            this.slowOnly = slowOnly;
        }

        @Override
        public void open(OpenContext context) throws IOException {
            reader = new ObjectMapper().readerFor(Detection.class);
            zones = new Zones(file);
            getRuntimeContext().addAccumulator(MEMBERSHIPS, memberships);
        }

        @Override
        public Sighting map(String line) throws IOException {
            Detection seen = reader.readValue(line);
            Sighting sighting = new Sighting();
            sighting.track = seen.track;
            sighting.ts = seen.ts;
            sighting.speed = seen.speed;
            boolean asked = !slowOnly || seen.speed < SLOW_MPS;
            sighting.zones = asked ? zones.noParkingAt(seen.lon, seen.lat) : NOWHERE;
            return sighting;
        }

        @Override
        public void close() {
            if (zones != null) {
                memberships.add(zones.memberships());
            }
        }
    }

    private static final class Parked extends KeyedProcessFunction<String, Sighting, String> {
        private static final long serialVersionUID = 1;
        private final String file;
        private final long parkMs;
        private transient String[] paths;
        private transient MapState<Integer, Stay> stays;

        Parked(String file, long parkMs) {
            this.file = file;
            this.parkMs = parkMs;
        }

        @Override
        public void open(OpenContext context) throws IOException {
            paths = Zones.paths(file);
            stays = getRuntimeContext()
                    .getMapState(new MapStateDescriptor<>("stays", Types.INT, Types.POJO(Stay.class)));
        }

        @Override
        public void processElement(Sighting seen, Context context, Collector<String> out) throws Exception {
            if (seen.speed >= SLOW_MPS || seen.zones.length == 0) {
                stays.clear();
                return;
            }
            Map<Integer, Stay> held = new HashMap<>();
            for (int zone : seen.zones) {
                Stay stay = stays.get(zone);
                if (stay == null) {
                    stay = new Stay();
                    stay.since = seen.ts;
                }
                if (!stay.told && seen.ts - stay.since >= parkMs) {
                    stay.told = true;
                    out.collect("{\"track\":\"" + seen.track + "\",\"zone\":\"" + paths[zone] + "\",\"start_ms\":"
                            + stay.since + ",\"fire_ms\":" + seen.ts + "}");
                }
                held.put(zone, stay);
            }
            stays.clear();
            stays.putAll(held);
        }
    }

    private record Incidents(String file) implements Sink<String> {
        @Override
        public SinkWriter<String> createWriter(WriterInitContext context) throws IOException {
            Writer out = Files.newBufferedWriter(Path.of(file));
            return new SinkWriter<>() {
                @Override
                public void write(String incident, Context at) throws IOException {
                    out.write(incident);
                    out.write('\n');
                }

                @Override
                public void flush(boolean endOfInput) {
                    try {
                        out.flush();
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                }

                @Override
                public void close() throws IOException {
                    out.close();
                }
            };
        }
    }
}
