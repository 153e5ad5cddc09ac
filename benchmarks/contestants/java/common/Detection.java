package parking;

/** One line of the input. */
public class Detection {
    public String source;
    public String track;
    public String type;
    public double lon;
    public double lat;
    public double speed;
    public long ts;
    public double conf;
}
